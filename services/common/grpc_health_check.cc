// SPDX-License-Identifier: Apache-2.0
#include "services/common/grpc_health_check.h"

#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_certificate_verifier.h>
#include <grpcpp/security/tls_credentials_options.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/slice.h>

#include <cstdio>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "services/common/grpc_client.h"
#include "services/common/grpc_server.h"
#include "services/common/grpc_status.h"

namespace camherd {
namespace {

constexpr char kCheck[] = "/grpc.health.v1.Health/Check";
// HealthCheckResponse with field 1, `status`, of SERVING.
constexpr absl::string_view kServing("\x08\x01", 2);
constexpr absl::Duration kCommandTimeout = absl::Seconds(3);

// Where a server that listens so is reached from this machine.
std::string LocalTarget(absl::string_view listen) {
  if (absl::StartsWith(listen, "unix:")) return std::string(listen);
  const size_t colon = listen.rfind(':');
  const absl::string_view host = listen.substr(0, colon);
  const absl::string_view port =
      colon == absl::string_view::npos ? "" : listen.substr(colon);
  if (host == "0.0.0.0" || host.empty()) return absl::StrCat("127.0.0.1", port);
  if (host == "[::]") return absl::StrCat("[::1]", port);
  return std::string(listen);
}

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
  options.set_certificate_verifier(
      std::make_shared<grpc::experimental::NoOpCertificateVerifier>());
  options.set_check_call_host(false);
  return grpc::experimental::TlsCredentials(options);
}

std::string Bytes(const grpc::ByteBuffer& buffer) {
  std::vector<grpc::Slice> slices;
  std::string bytes;
  if (!buffer.Valid() || !buffer.Dump(&slices).ok()) return bytes;
  for (const grpc::Slice& slice : slices) {
    bytes.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  }
  return bytes;
}

}  // namespace

GrpcHealthCheck::GrpcHealthCheck(absl::string_view listen,
                                 const GrpcSecurity& security)
    : target_(LocalTarget(listen)), channel_([&] {
        grpc::ChannelArguments arguments;
        arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
        arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1'000);
        return grpc::CreateCustomChannel(target_, Credentials(security),
                                         arguments);
      }()) {}

absl::StatusOr<bool> GrpcHealthCheck::IsServing(absl::Duration timeout,
                                                std::string* reason) const {
  grpc::ClientContext context;
  SetDeadline(context, timeout);
  const grpc::Slice empty;
  const grpc::ByteBuffer request(&empty, 1);
  grpc::ByteBuffer response;
  grpc::Status status;
  absl::Notification done;
  grpc::GenericStub stub(channel_);
  stub.UnaryCall(&context, kCheck, grpc::StubOptions(), &request, &response,
                 [&](grpc::Status ended) {
                   status = std::move(ended);
                   done.Notify();
                 });
  done.WaitForNotification();
  if (!status.ok()) {
    const absl::Status why = FromGrpcStatus(status);
    return absl::Status(why.code(), absl::StrCat("no answer from ", target_,
                                                 ": ", why.message()));
  }
  if (reason != nullptr) {
    const auto& metadata = context.GetServerTrailingMetadata();
    const auto it = metadata.find(kNotServingReason);
    *reason = it == metadata.end()
                  ? ""
                  : std::string(it->second.data(), it->second.size());
  }
  return Bytes(response) == kServing;
}

int RunHealthCommand(absl::string_view listen, const GrpcSecurity& security) {
  std::string reason;
  const absl::StatusOr<bool> serving =
      GrpcHealthCheck(listen, security).IsServing(kCommandTimeout, &reason);
  if (!serving.ok()) {
    std::fprintf(stderr, "%s\n",
                 std::string(serving.status().message()).c_str());
    return 1;
  }
  if (!*serving) {
    std::fprintf(stderr, "not ready%s%s\n", reason.empty() ? "" : ": ",
                 reason.c_str());
    return 1;
  }
  std::puts("serving");
  return 0;
}

}  // namespace camherd
