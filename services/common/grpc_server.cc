// SPDX-License-Identifier: Apache-2.0
#include "services/common/grpc_server.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/impl/server_builder_option.h>
#include <grpcpp/impl/server_builder_plugin.h>
#include <grpcpp/server_builder.h>
#include <grpcpp/support/server_interceptor.h>

#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "services/common/clock.h"
#include "services/common/grpc_audit.h"
#include "services/common/grpc_credentials.h"
#include "services/common/grpc_trace.h"

namespace camherd {
namespace {

// Takes reflection out again: gRPC's reflection library adds it to every
// server as soon as it is linked.
class WithoutReflection final : public grpc::ServerBuilderOption {
 public:
  void UpdateArguments(grpc::ChannelArguments*) override {}
  void UpdatePlugins(std::vector<std::unique_ptr<grpc::ServerBuilderPlugin>>*
                         plugins) override {
    std::erase_if(*plugins, [](const auto& plugin) {
      return plugin->name() == "proto_server_reflection";
    });
  }
};

constexpr absl::string_view kHealthCheck = "/grpc.health.v1.Health/Check";

}  // namespace

// Puts the reason, which may name a file, into the answers of gRPC's own health
// service to those who belong.
class GrpcServer::HealthReason final
    : public grpc::experimental::ServerInterceptorFactoryInterface {
 public:
  explicit HealthReason(const GrpcSecurity& security)
      : is_open_(security.tokens.empty()),
        opens_(MakeTokenCheck(security.tokens)) {}

  void Set(const std::string& reason) {
    absl::MutexLock lock(&mu_);
    reason_ = reason;
  }

  grpc::experimental::Interceptor* CreateServerInterceptor(
      grpc::experimental::ServerRpcInfo* info) override {
    if (info->method() == nullptr || info->method() != kHealthCheck) {
      return nullptr;
    }
    absl::MutexLock lock(&mu_);
    // gRPC's, which deletes it after the call.
    return reason_.empty()
               ? nullptr
               : new Answer(*this, *info->server_context(), reason_);
  }

 private:
  class Answer final : public grpc::experimental::Interceptor {
   public:
    Answer(const HealthReason& all, const grpc::ServerContextBase& context,
           const std::string& reason)
        : all_(all), context_(context), reason_(reason) {}

    void Intercept(grpc::experimental::InterceptorBatchMethods* call) override {
      if (call->QueryInterceptionHookPoint(
              grpc::experimental::InterceptionHookPoints::PRE_SEND_STATUS) &&
          all_.Belongs(context_)) {
        call->GetSendTrailingMetadata()->emplace(kNotServingReason, reason_);
      }
      call->Proceed();
    }

   private:
    const HealthReason& all_;
    const grpc::ServerContextBase& context_;
    const std::string reason_;
  };

  bool Belongs(const grpc::ServerContextBase& context) const {
    if (is_open_) return true;
    const auto& metadata = context.client_metadata();
    const auto it = metadata.find("authorization");
    return it != metadata.end() &&
           opens_({it->second.data(), it->second.size()});
  }

  // No token is asked for: who gets here may know.
  const bool is_open_;
  const OpensFn opens_;
  absl::Mutex mu_;
  std::string reason_ ABSL_GUARDED_BY(mu_);
};

absl::StatusOr<std::unique_ptr<GrpcServer>> GrpcServer::Start(
    const Options& options, const std::vector<grpc::Service*>& services,
    const std::vector<std::string>& service_names) {
  if (!options.security.closed() && !IsLocalGrpcAddress(options.listen)) {
    return absl::InvalidArgumentError(
        absl::StrCat("listen must stay on loopback unless grpc.token_file or "
                     "grpc.tls_* are set, got ",
                     options.listen));
  }
  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();

  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort(options.listen,
                           MakeServerCredentials(options.security), &port);
  // With it a second server on the same port would start and take half the
  // calls.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  // Clients of ours ping every 30 s (grpc_client); gRPC's default of 300 s
  // would send them away.
  builder.AddChannelArgument(
      GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 10'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 60'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 20'000);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS,
                             options.max_concurrent_streams);
  builder.SetMaxReceiveMessageSize(options.max_message_bytes);
  if (!options.reflection) {
    builder.SetOption(std::make_unique<WithoutReflection>());
  }
  for (grpc::Service* service : services) builder.RegisterService(service);

  std::unique_ptr<GrpcServer> server(new GrpcServer);
  auto reason = std::make_unique<HealthReason>(options.security);
  server->health_reason_ = reason.get();
  std::vector<
      std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface>>
      interceptors;
  interceptors.push_back(MakeTraceInterceptors(options.audited));
  interceptors.push_back(std::move(reason));
  if (options.audit != nullptr) {
    interceptors.push_back(MakeAuditInterceptors(
        *options.audit, options.audited, options.security.closed()));
  }
  builder.experimental().SetInterceptorCreators(std::move(interceptors));
  server->service_names_ = service_names;
  server->server_ = builder.BuildAndStart();
  if (server->server_ == nullptr) {
    return absl::UnavailableError(
        absl::StrCat("cannot listen on ", options.listen,
                     ": the address is not free or not of this machine"));
  }
  server->SetServing(false);
  // For probes that ask whether to restart this, whatever it lacks.
  server->server_->GetHealthCheckService()->SetServingStatus("live", true);
  server->address_ =
      absl::StartsWith(options.listen, "unix:")
          ? options.listen
          : absl::StrCat(options.listen.substr(0, options.listen.rfind(':')),
                         ":", port);
  return server;
}

GrpcServer::~GrpcServer() { Stop(absl::ZeroDuration()); }

void GrpcServer::SetServing(bool serving, const std::string& reason) {
  health_reason_->Set(serving ? "" : reason);
  grpc::HealthCheckServiceInterface* health = server_->GetHealthCheckService();
  health->SetServingStatus("", serving);
  for (const std::string& name : service_names_) {
    health->SetServingStatus(name, serving);
  }
}

void GrpcServer::Stop(absl::Duration drain) {
  if (stopped_ || server_ == nullptr) return;
  stopped_ = true;
  server_->GetHealthCheckService()->Shutdown();
  server_->Shutdown(absl::ToChronoTime(Clock::Real().Now() + drain));
  server_->Wait();
}

}  // namespace camherd
