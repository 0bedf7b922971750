// SPDX-License-Identifier: Apache-2.0
#include "services/common/grpc_client.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_credentials_options.h>
#include <grpcpp/support/channel_arguments.h>
#include <grpcpp/support/client_interceptor.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "services/common/clock.h"

namespace camherd {

namespace {

using ::grpc::experimental::InterceptionHookPoints;

// gRPC's own call credentials need TLS.
class TokenSender final
    : public grpc::experimental::ClientInterceptorFactoryInterface {
 public:
  explicit TokenSender(const std::string& token)
      : value_(absl::StrCat("Bearer ", token)) {}

  grpc::experimental::Interceptor* CreateClientInterceptor(
      grpc::experimental::ClientRpcInfo*) override {
    // gRPC's, which deletes it after the call.
    return new Call(value_);
  }

 private:
  class Call final : public grpc::experimental::Interceptor {
   public:
    explicit Call(const std::string& value) : value_(value) {}
    void Intercept(
        grpc::experimental::InterceptorBatchMethods* batch) override {
      if (batch->QueryInterceptionHookPoint(
              InterceptionHookPoints::PRE_SEND_INITIAL_METADATA)) {
        batch->GetSendInitialMetadata()->emplace("authorization", value_);
      }
      batch->Proceed();
    }

   private:
    // The channel's, which outlives its calls.
    const std::string& value_;
  };

  const std::string value_;
};

std::shared_ptr<grpc::ChannelCredentials> Credentials(
    const GrpcSecurity& security) {
  if (!security.tls()) return grpc::InsecureChannelCredentials();
  grpc::experimental::TlsChannelCredentialsOptions options;
  options.set_certificate_provider(
      std::make_shared<grpc::experimental::FileWatcherCertificateProvider>(
          security.key_file, security.certificate_file, security.ca_file,
          security.reload_seconds));
  options.watch_root_certs();
  options.watch_identity_key_cert_pairs();
  return grpc::experimental::TlsCredentials(options);
}

}  // namespace

std::shared_ptr<grpc::Channel> MakeChannel(const std::string& target,
                                           const GrpcSecurity& security) {
  grpc::ChannelArguments arguments;
  // Finds a dead peer; servers of ours allow a ping every 10 s (grpc_server).
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 30'000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10'000);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 200);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 1'000);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 5'000);
  // Peers are on this machine or in the pod network.
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  // Each channel has its own connections: gRPC's global pool would make one
  // client's backoff another's.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetLoadBalancingPolicyName("round_robin");
  arguments.SetMaxReceiveMessageSize(20 << 20);
  std::vector<
      std::unique_ptr<grpc::experimental::ClientInterceptorFactoryInterface>>
      interceptors;
  if (!security.tokens.empty()) {
    interceptors.push_back(
        std::make_unique<TokenSender>(security.tokens.front()));
  }
  return grpc::experimental::CreateCustomChannelWithInterceptors(
      target, Credentials(security), arguments, std::move(interceptors));
}

void SetDeadline(grpc::ClientContext& context, absl::Duration timeout,
                 absl::Time caller_deadline) {
  const absl::Time deadline =
      std::min(Clock::Real().Now() + timeout, caller_deadline);
  context.set_deadline(absl::ToChronoTime(deadline));
}

}  // namespace camherd
