// SPDX-License-Identifier: Apache-2.0
#include "gateway/listen_socket.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "services/common/log.h"
#include "services/common/status_macros.h"

namespace camherd::gateway {
namespace {

// Enough for a burst of connections while the front is busy.
constexpr int kBacklog = 512;

struct HostPort {
  std::string host;
  int port = 0;
};

absl::StatusOr<HostPort> Split(absl::string_view address) {
  const size_t colon = address.rfind(':');
  HostPort result;
  if (colon == absl::string_view::npos || colon == 0 ||
      !absl::SimpleAtoi(address.substr(colon + 1), &result.port) ||
      result.port < 0 || result.port > 65535) {
    return absl::InvalidArgumentError(absl::StrCat(
        "a listen address must be host:port, got \"", address, "\""));
  }
  absl::string_view host = address.substr(0, colon);
  if (absl::StartsWith(host, "[") && absl::EndsWith(host, "]")) {
    host = host.substr(1, host.size() - 2);
  } else if (absl::StrContains(host, ":")) {
    return absl::InvalidArgumentError(absl::StrCat(
        "an IPv6 listen address must be [host]:port, got \"", address, "\""));
  }
  result.host = absl::AsciiStrToLower(host);
  return result;
}

std::string Describe(const sockaddr_storage& address) {
  char text[INET6_ADDRSTRLEN] = "";
  if (address.ss_family == AF_INET6) {
    const auto* v6 = reinterpret_cast<const sockaddr_in6*>(&address);
    inet_ntop(AF_INET6, &v6->sin6_addr, text, sizeof text);
    return absl::StrCat("[", text, "]:", ntohs(v6->sin6_port));
  }
  const auto* v4 = reinterpret_cast<const sockaddr_in*>(&address);
  inet_ntop(AF_INET, &v4->sin_addr, text, sizeof text);
  return absl::StrCat(text, ":", ntohs(v4->sin_port));
}

int PortOf(absl::string_view address) {
  int port = 0;
  (void)absl::SimpleAtoi(address.substr(address.rfind(':') + 1), &port);
  return port;
}

absl::StatusOr<ListenSocket> ListenOn(const std::string& host, int port) {
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const std::string service = absl::StrCat(port);
  if (const int error =
          getaddrinfo(host.c_str(), service.c_str(), &hints, &found);
      error != 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "cannot resolve listen address ", host, ": ", gai_strerror(error)));
  }
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owner(found,
                                                                 freeaddrinfo);
  const int fd =
      socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  const auto fail = [&](absl::string_view what) {
    const int error = errno;
    if (fd >= 0) close(fd);
    return absl::UnavailableError(absl::StrCat("cannot ", what, " ", host, ":",
                                               port, ": ", strerror(error)));
  };
  if (fd < 0) return fail("open a socket for");
  const int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (found->ai_family == AF_INET6) {
    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
  }
  if (bind(fd, found->ai_addr, found->ai_addrlen) != 0) {
    return fail("listen on");
  }
  if (listen(fd, kBacklog) != 0) return fail("listen on");
  sockaddr_storage bound = {};
  socklen_t length = sizeof bound;
  getsockname(fd, reinterpret_cast<sockaddr*>(&bound), &length);
  return ListenSocket(fd, Describe(bound));
}

// Both families on one port. Only IPv4 must succeed, since containers and
// hosts without IPv6 are common.
absl::Status ListenOnBoth(const std::string& v4, const std::string& v6,
                          int port, std::vector<ListenSocket>* sockets,
                          std::vector<ListenSocket>* sockets6) {
  CAMHERD_ASSIGN_OR_RETURN(ListenSocket first, ListenOn(v4, port));
  absl::StatusOr<ListenSocket> second = ListenOn(v6, PortOf(first.address()));
  if (second.ok()) {
    sockets6->push_back(*std::move(second));
  } else {
    LogWarning("not listening on IPv6", {{"error", second.status().message()}});
  }
  sockets->push_back(std::move(first));
  return absl::OkStatus();
}

}  // namespace

ListenSocket::~ListenSocket() {
  if (fd_ >= 0) close(fd_);
}

absl::StatusOr<std::vector<ListenSocket>> Listen(
    const std::vector<std::string>& addresses) {
  std::vector<ListenSocket> sockets;
  std::vector<ListenSocket> sockets6;
  for (const std::string& address : addresses) {
    CAMHERD_ASSIGN_OR_RETURN(const HostPort parts, Split(address));
    if (parts.host == "localhost") {
      CAMHERD_RETURN_IF_ERROR(
          ListenOnBoth("127.0.0.1", "::1", parts.port, &sockets, &sockets6));
    } else if (parts.host == "*") {
      CAMHERD_RETURN_IF_ERROR(
          ListenOnBoth("0.0.0.0", "::", parts.port, &sockets, &sockets6));
    } else {
      CAMHERD_ASSIGN_OR_RETURN(ListenSocket socket,
                               ListenOn(parts.host, parts.port));
      sockets.push_back(std::move(socket));
    }
  }
  for (ListenSocket& socket : sockets6) sockets.push_back(std::move(socket));
  return sockets;
}

absl::StatusOr<std::string> ListenHost(absl::string_view address) {
  CAMHERD_ASSIGN_OR_RETURN(HostPort parts, Split(address));
  return std::move(parts.host);
}

bool IsLoopbackHost(absl::string_view host) {
  if (host == "localhost") return true;
  const std::string text(host);
  in_addr v4 = {};
  if (inet_pton(AF_INET, text.c_str(), &v4) == 1) {
    return (ntohl(v4.s_addr) >> 24) == 127;
  }
  in6_addr v6 = {};
  return inet_pton(AF_INET6, text.c_str(), &v6) == 1 &&
         IN6_IS_ADDR_LOOPBACK(&v6);
}

bool IsWildcardHost(absl::string_view host) {
  return host == "0.0.0.0" || host == "::" || host == "*";
}

bool IsIpLiteral(absl::string_view host) {
  const std::string text(host);
  in6_addr address = {};
  return inet_pton(AF_INET, text.c_str(), &address) == 1 ||
         inet_pton(AF_INET6, text.c_str(), &address) == 1;
}

}  // namespace camherd::gateway
