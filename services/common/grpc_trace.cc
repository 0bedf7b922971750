// SPDX-License-Identifier: Apache-2.0
#include "services/common/grpc_trace.h"

#include <grpcpp/server_context.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "services/common/log.h"
#include "services/common/trace_scope.h"

namespace camherd {
namespace {

using ::grpc::experimental::InterceptionHookPoints;

class TracedCall final : public grpc::experimental::Interceptor {
 public:
  TracedCall(TraceContext trace, std::string method, bool is_change)
      : trace_(std::move(trace)),
        method_(std::move(method)),
        is_change_(is_change) {}

  void Intercept(grpc::experimental::InterceptorBatchMethods* call) override {
    // Its own copy: this may be gone before Proceed returns.
    const TraceScope scope(trace_);
    if (call->QueryInterceptionHookPoint(
            InterceptionHookPoints::PRE_SEND_STATUS)) {
      const auto code =
          static_cast<absl::StatusCode>(call->GetSendStatus().error_code());
      const LogFields fields = {{"method", method_},
                                {"code", absl::StatusCodeToString(code)}};
      if (is_change_ || code != absl::StatusCode::kOk) {
        LogInfo("call answered", fields);
      } else {
        LogDebug("call answered", fields);
      }
    }
    call->Proceed();
  }

 private:
  const TraceContext trace_;
  const std::string method_;
  const bool is_change_;
};

class TraceInterceptors final
    : public grpc::experimental::ServerInterceptorFactoryInterface {
 public:
  explicit TraceInterceptors(std::vector<std::string> changes)
      : changes_(std::move(changes)) {}

  grpc::experimental::Interceptor* CreateServerInterceptor(
      grpc::experimental::ServerRpcInfo* info) override {
    const auto& metadata = info->server_context()->client_metadata();
    const auto it = metadata.find(TraceContext::kHeader);
    if (it == metadata.end() || info->method() == nullptr) return nullptr;
    std::optional<TraceContext> trace =
        TraceContext::Parse({it->second.data(), it->second.size()});
    if (!trace.has_value()) return nullptr;
    const absl::string_view path = info->method();
    std::string method(path.substr(path.rfind('/') + 1));
    const bool is_change =
        std::find(changes_.begin(), changes_.end(), method) != changes_.end();
    // gRPC's, which deletes it after the call.
    return new TracedCall(*std::move(trace), std::move(method), is_change);
  }

 private:
  const std::vector<std::string> changes_;
};

}  // namespace

void AddTraceMetadata(grpc::ClientContext& context) {
  if (const TraceContext* trace = TraceScope::Current()) {
    context.AddMetadata(TraceContext::kHeader, trace->Child().ToHeader());
  }
}

std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface>
MakeTraceInterceptors(const std::vector<std::string>& changes) {
  return std::make_unique<TraceInterceptors>(changes);
}

}  // namespace camherd
