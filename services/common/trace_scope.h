// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "services/common/trace_context.h"

namespace camherd {

// From its making to its end, log lines of this thread have the field
// `trace_id`, and calls made by it are of that trace. They may be nested.
class TraceScope {
 public:
  explicit TraceScope(TraceContext trace);
  ~TraceScope();

  TraceScope(const TraceScope&) = delete;
  TraceScope& operator=(const TraceScope&) = delete;

  // Of this thread; null: none. Valid until its scope ends.
  static const TraceContext* Current();

 private:
  const TraceContext trace_;
  const TraceContext* const outer_;
};

}  // namespace camherd
