// SPDX-License-Identifier: Apache-2.0
#include "services/common/grpc_credentials.h"

#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <grpc/slice.h>
#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_credentials_options.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "services/common/file.h"

namespace camherd {
namespace {

absl::string_view View(const grpc_slice& slice) {
  return {reinterpret_cast<const char*>(GRPC_SLICE_START_PTR(slice)),
          GRPC_SLICE_LENGTH(slice)};
}

class Door {
 public:
  explicit Door(const std::vector<std::string>& tokens)
      : opens_(MakeTokenCheck(tokens)) {}

  // `metadata` of a call.
  bool IsOpenTo(const grpc_metadata* metadata, size_t count) const {
    bool open = false;
    for (size_t i = 0; i < count; ++i) {
      const absl::string_view key = View(metadata[i].key);
      const absl::string_view value = View(metadata[i].value);
      if (key == ":path" &&
          absl::StartsWith(value, "/grpc.health.v1.Health/")) {
        return true;
      }
      if (key == "authorization") open |= opens_(value);
    }
    return open;
  }

 private:
  const OpensFn opens_;
};

void CheckCall(void* door, grpc_auth_context* /*context*/,
               const grpc_metadata* metadata, size_t count,
               grpc_process_auth_metadata_done_cb done, void* user_data) {
  const bool open = static_cast<const Door*>(door)->IsOpenTo(metadata, count);
  done(user_data, nullptr, 0, nullptr, 0,
       open ? GRPC_STATUS_OK : GRPC_STATUS_UNAUTHENTICATED,
       open ? "" : "grpc.token_file has no such token");
}

void DeleteDoor(void* door) { delete static_cast<Door*>(door); }

// gRPC's C++ side takes no AuthMetadataProcessor without TLS, its core does.
class Credentials final : public grpc::ServerCredentials {
 public:
  // Takes over `core`.
  Credentials(grpc_server_credentials* core,
              const std::vector<std::string>& tokens)
      : core_(core) {
    if (tokens.empty()) return;
    grpc_server_credentials_set_auth_metadata_processor(
        core_, {CheckCall, DeleteDoor, new Door(tokens)});
  }
  ~Credentials() override { grpc_server_credentials_release(core_); }

  // Nobody calls it: the processor is set already.
  void SetAuthMetadataProcessor(
      const std::shared_ptr<grpc::AuthMetadataProcessor>&) override {}

 private:
  int AddPortToServer(const std::string& address,
                      grpc_server* server) override {
    return grpc_server_add_http2_port(server, address.c_str(), core_);
  }

  grpc_server_credentials* const core_;
};

}  // namespace

OpensFn MakeTokenCheck(const std::vector<std::string>& tokens) {
  std::vector<std::string> digests;
  for (const std::string& token : tokens) {
    digests.push_back(Sha256(absl::StrCat("Bearer ", token)));
  }
  return [digests = std::move(digests)](absl::string_view authorization) {
    const std::string digest = Sha256(authorization);
    bool open = false;
    for (const std::string& known : digests) open |= digest == known;
    return open;
  };
}

std::shared_ptr<grpc::ServerCredentials> MakeServerCredentials(
    const GrpcSecurity& security) {
  if (!security.closed()) return grpc::InsecureServerCredentials();
  if (!security.tls()) {
    return std::make_shared<Credentials>(
        grpc_insecure_server_credentials_create(), security.tokens);
  }
  grpc::experimental::TlsServerCredentialsOptions options(
      std::make_shared<grpc::experimental::FileWatcherCertificateProvider>(
          security.key_file, security.certificate_file, security.ca_file,
          security.reload_seconds));
  options.watch_root_certs();
  options.watch_identity_key_cert_pairs();
  options.set_cert_request_type(
      GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  return std::make_shared<Credentials>(
      grpc_tls_server_credentials_create(options.c_credentials_options()),
      security.tokens);
}

}  // namespace camherd
