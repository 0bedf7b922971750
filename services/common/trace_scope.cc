// SPDX-License-Identifier: Apache-2.0
#include "services/common/trace_scope.h"

#include <utility>

namespace camherd {
namespace {

thread_local const TraceContext* current = nullptr;

}  // namespace

TraceScope::TraceScope(TraceContext trace)
    : trace_(std::move(trace)), outer_(current) {
  current = &trace_;
}

TraceScope::~TraceScope() { current = outer_; }

const TraceContext* TraceScope::Current() { return current; }

}  // namespace camherd
