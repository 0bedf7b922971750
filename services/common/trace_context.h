// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"

namespace camherd {

// What of one request or batch belongs together, over all services: W3C Trace
// Context (https://www.w3.org/TR/trace-context/), §3.2, the header or metadata
// `traceparent`:
//
//   00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01
//   |  trace id, 32 hex digits          span id, 16      flags: 01 sampled
//   version
//
// A value; each of its ids is lower-case and not all zero.
struct TraceContext {
  // Key of the header and of the gRPC metadata.
  static constexpr char kHeader[] = "traceparent";

  // Nothing if `header` is none. Of a later version what this one has is read.
  static std::optional<TraceContext> Parse(absl::string_view header);
  // A new trace, sampled.
  static TraceContext New();
  // That of a batch: each time the same, whichever service asks, so that what
  // is sent again is the same bytes. The ids are the beginning of the SHA-256
  // of "<session_id>/<batch_seq>".
  static TraceContext OfBatch(absl::string_view session_id, int64_t batch_seq);

  // A new span of this trace.
  TraceContext Child() const;
  std::string ToHeader() const;

  std::string trace_id;
  std::string span_id;
  bool sampled = true;
};

}  // namespace camherd
