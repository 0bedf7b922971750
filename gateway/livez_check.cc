// SPDX-License-Identifier: Apache-2.0
#include "gateway/livez_check.h"

#include <httplib.h>

#include <chrono>
#include <cstdio>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "gateway/listen_socket.h"
#include "services/common/status_macros.h"

namespace camherd::gateway {
namespace {

constexpr absl::Duration kCommandTimeout = absl::Seconds(3);

// True where it answered.
template <typename Client>
bool Answers(Client& client, absl::Duration timeout) {
  const auto limit =
      std::chrono::milliseconds(absl::ToInt64Milliseconds(timeout));
  client.set_connection_timeout(limit);
  client.set_read_timeout(limit);
  client.set_write_timeout(limit);
  return bool(client.Get("/livez"));
}

}  // namespace

absl::Status CheckLivez(absl::string_view listen, bool tls,
                        absl::Duration timeout) {
  CAMHERD_ASSIGN_OR_RETURN(std::string host, ListenHost(listen));
  int port = 0;
  if (!absl::SimpleAtoi(listen.substr(listen.rfind(':') + 1), &port) ||
      port == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("no port to ask in ", listen));
  }
  if (host == "::") {
    host = "::1";
  } else if (IsWildcardHost(host) || host == "localhost") {
    host = "127.0.0.1";
  }
  bool answers = false;
  if (tls) {
    httplib::SSLClient client(host, port);
    client.enable_server_certificate_verification(false);
    answers = Answers(client, timeout);
  } else {
    httplib::ClientImpl client(host, port);
    answers = Answers(client, timeout);
  }
  if (answers) return absl::OkStatus();
  return absl::UnavailableError(
      absl::StrCat("no answer from ", host, ":", port));
}

int RunHealthCommand(absl::string_view listen, bool tls) {
  const absl::Status lives = CheckLivez(listen, tls, kCommandTimeout);
  if (!lives.ok()) {
    std::fprintf(stderr, "%s\n", std::string(lives.message()).c_str());
    return 1;
  }
  std::puts("alive");
  return 0;
}

}  // namespace camherd::gateway
