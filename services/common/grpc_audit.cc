// SPDX-License-Identifier: Apache-2.0
#include "services/common/grpc_audit.h"

#include <grpcpp/server_context.h>

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/message.h"
#include "services/common/grpc_caller.h"

namespace camherd {
namespace {

using ::google::protobuf::FieldDescriptor;
using ::google::protobuf::Message;
using ::grpc::experimental::InterceptionHookPoints;

// The first of these string fields that is set, in the message or in the one
// that it is about.
std::string Named(const Message& message,
                  const std::vector<const char*>& names) {
  const auto& reflection = *message.GetReflection();
  const auto field = [&message](const char* name) {
    return message.GetDescriptor()->FindFieldByName(name);
  };
  for (const char* name : names) {
    const FieldDescriptor* found = field(name);
    if (found == nullptr || found->is_repeated() ||
        found->cpp_type() != FieldDescriptor::CPPTYPE_STRING) {
      continue;
    }
    std::string value = reflection.GetString(message, found);
    if (!value.empty()) return value;
  }
  for (const char* part : {"stream", "camera", "model"}) {
    const FieldDescriptor* found = field(part);
    if (found != nullptr && !found->is_repeated() &&
        found->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE &&
        reflection.HasField(message, found)) {
      return Named(reflection.GetMessage(message, found), names);
    }
  }
  return "";
}

// "ipv4:127.0.0.1:1234" and "ipv6:%5B::1%5D:1234" without scheme and port.
std::string AddressOf(const std::string& peer) {
  std::string text =
      absl::StrReplaceAll(peer, {{"%5B", "["}, {"%5D", "]"}, {"%25", "%"}});
  if (!absl::StartsWith(text, "ipv")) return text;
  text.erase(0, text.find(':') + 1);
  text.erase(text.rfind(':'));
  absl::string_view address = text;
  absl::ConsumePrefix(&address, "[");
  absl::ConsumeSuffix(&address, "]");
  return std::string(address);
}

bool IsOfThisMachine(absl::string_view address) {
  return address == "::1" || absl::StartsWith(address, "127.") ||
         absl::StartsWith(address, "unix:") ||
         absl::StartsWith(address, "::ffff:127.");
}

class AuditedCall final : public grpc::experimental::Interceptor {
 public:
  AuditedCall(AuditLog& log, std::string method,
              grpc::experimental::ServerRpcInfo& info, bool all_belong)
      : log_(log),
        context_(*info.server_context()),
        unary_(info.type() == grpc::experimental::ServerRpcInfo::Type::UNARY),
        all_belong_(all_belong) {
    entry_.method = std::move(method);
  }

  void Intercept(grpc::experimental::InterceptorBatchMethods* call) override {
    if (call->QueryInterceptionHookPoint(
            InterceptionHookPoints::POST_RECV_MESSAGE)) {
      TakeRequest(static_cast<const Message*>(call->GetRecvMessage()));
    }
    if (call->QueryInterceptionHookPoint(
            InterceptionHookPoints::PRE_SEND_MESSAGE)) {
      TakeAnswer(static_cast<const Message*>(call->GetSendMessage()));
      if (!unary_) Write(absl::StatusCode::kOk);
    }
    if (call->QueryInterceptionHookPoint(
            InterceptionHookPoints::PRE_SEND_STATUS)) {
      Write(static_cast<absl::StatusCode>(call->GetSendStatus().error_code()));
    }
    call->Proceed();
  }

 private:
  void TakeRequest(const Message* request) {
    // Of a stream of requests the first says what it is about.
    if (request == nullptr || requested_) return;
    requested_ = true;
    entry_.target =
        Named(*request, {"stream", "camera_id", "name", "process_name"});
    std::vector<const FieldDescriptor*> given;
    request->GetReflection()->ListFields(*request, &given);
    entry_.fields = absl::StrJoin(
        given, ",", [](std::string* out, const FieldDescriptor* field) {
          out->append(field->name());
        });
  }

  void TakeAnswer(const Message* answer) {
    if (answer == nullptr || written_) return;
    entry_.camera_id = Named(*answer, {"camera_id"});
    if (entry_.target.empty()) {
      entry_.target = Named(*answer, {"process_name", "camera_id", "name"});
    }
  }

  void Write(absl::StatusCode result) {
    if (std::exchange(written_, true)) return;
    const std::string address = AddressOf(context_.peer());
    GrpcCaller caller;
    if (all_belong_ || IsOfThisMachine(address)) {
      caller = CallerOf(context_.client_metadata());
    }
    entry_.caller = caller.name;
    entry_.role = caller.role;
    entry_.address = caller.address.empty() ? address : caller.address;
    if (caller.role.empty()) {
      const auto& metadata = context_.client_metadata();
      if (const auto it = metadata.find("user-agent"); it != metadata.end()) {
        entry_.agent.assign(it->second.data(), it->second.size());
      }
    }
    entry_.result = absl::StatusCodeToString(result);
    log_.Write(entry_);
  }

  AuditLog& log_;
  const grpc::ServerContextBase& context_;
  const bool unary_;
  const bool all_belong_;
  AuditLog::Entry entry_;
  bool requested_ = false;
  bool written_ = false;
};

class AuditInterceptors final
    : public grpc::experimental::ServerInterceptorFactoryInterface {
 public:
  AuditInterceptors(AuditLog& log, std::vector<std::string> methods,
                    bool all_belong)
      : log_(log), methods_(std::move(methods)), all_belong_(all_belong) {}

  grpc::experimental::Interceptor* CreateServerInterceptor(
      grpc::experimental::ServerRpcInfo* info) override {
    const absl::string_view path =
        info->method() == nullptr ? "" : info->method();
    const std::string method(path.substr(path.rfind('/') + 1));
    if (std::find(methods_.begin(), methods_.end(), method) == methods_.end()) {
      return nullptr;
    }
    // gRPC's, which deletes it after the call.
    return new AuditedCall(log_, method, *info, all_belong_);
  }

 private:
  AuditLog& log_;
  const std::vector<std::string> methods_;
  const bool all_belong_;
};

}  // namespace

std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface>
MakeAuditInterceptors(AuditLog& log, const std::vector<std::string>& methods,
                      bool all_belong) {
  return std::make_unique<AuditInterceptors>(log, methods, all_belong);
}

}  // namespace camherd
