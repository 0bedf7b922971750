// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <variant>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "gateway/http_message.h"

// Reads HTTP/1.x requests strictly (RFC 9112): whatever two readers could
// understand differently is refused, so nothing can be smuggled past a proxy
// or past the library behind us. Pure functions, thread-safe.
namespace camherd::gateway {

// Limits of a head; past them the request is refused.
inline constexpr size_t kMaxHeadBytes = 16 << 10;
inline constexpr size_t kMaxHeaders = 64;
inline constexpr size_t kMaxTargetBytes = 4096;
inline constexpr size_t kMaxPathBytes = 1024;

// Why a request is refused. `reason` is a metric label out of a closed set:
// "bad_request", "bad_header", "bad_length", "bad_target", "head_too_large",
// "transfer_encoding", "content_encoding", "version", "method", "expect",
// and those of connection_front.h and http_server.h.
struct Refusal {
  HttpCode code = HttpCode::kBadRequest;
  const char* reason = "";
  std::string message;
};

struct RequestHead {
  // Without body, peer, route and path values.
  HttpRequest request;
  uint64_t content_length = 0;
  bool expect_continue = false;
};

// Parses a head, from the request line to the empty line, both included.
// REQUIRES: `head` ends with "\r\n\r\n" and holds it only there.
std::variant<RequestHead, Refusal> ParseHead(absl::string_view head);

// Says whether the first bytes can still become a head, so that what is no
// HTTP is refused before it is complete. OK, or why not. The first `checked`
// bytes have been found good before.
absl::Status CheckHeadSoFar(absl::string_view bytes, size_t checked = 0);

// Percent-decodes; with `plus_is_space` as forms do (WHATWG URL §5.1).
// kInvalidArgument: a broken escape, or one that stands for NUL.
absl::StatusOr<std::string> PercentDecode(absl::string_view text,
                                          bool plus_is_space);

// Percent-encodes all but unreserved characters (RFC 3986 §2.3) and "/".
std::string PercentEncodePath(absl::string_view path);

// `a=1&b=2` as pairs, in order: a query string or a form body.
// kInvalidArgument: a broken escape, bytes that are no UTF-8, more than 64
// fields, or a name twice.
absl::StatusOr<Fields> ParseForm(absl::string_view text);

// The host of a Host header or an origin, lower-case, without port and
// brackets. Empty: malformed.
std::string HostOf(absl::string_view authority);

}  // namespace camherd::gateway
