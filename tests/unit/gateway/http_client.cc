// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/gateway/http_client.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "services/common/clock.h"

namespace camherd::gateway {

namespace {

constexpr absl::string_view kTls = "https://";

}  // namespace

RawConnection::RawConnection(const std::string& address)
    : RawConnection(address, Options()) {}

RawConnection::RawConnection(const std::string& url, const Options& options) {
  const bool is_tls = absl::StartsWith(url, kTls);
  const std::string address(absl::StripPrefix(url, kTls));
  const size_t colon = address.rfind(':');
  int port = 0;
  if (!absl::SimpleAtoi(address.substr(colon + 1), &port)) abort();
  if (address[0] == '[') {
    fd_ = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in6 to = {};
    to.sin6_family = AF_INET6;
    to.sin6_port = htons(static_cast<uint16_t>(port));
    inet_pton(AF_INET6, address.substr(1, colon - 2).c_str(), &to.sin6_addr);
    if (connect(fd_, reinterpret_cast<sockaddr*>(&to), sizeof to) != 0) abort();
  } else {
    fd_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in to = {};
    to.sin_family = AF_INET;
    to.sin_port = htons(static_cast<uint16_t>(port));
    inet_pton(AF_INET, address.substr(0, colon).c_str(), &to.sin_addr);
    if (!options.from.empty()) {
      sockaddr_in from = {};
      from.sin_family = AF_INET;
      inet_pton(AF_INET, options.from.c_str(), &from.sin_addr);
      if (bind(fd_, reinterpret_cast<sockaddr*>(&from), sizeof from) != 0) {
        abort();
      }
    }
    if (connect(fd_, reinterpret_cast<sockaddr*>(&to), sizeof to) != 0) abort();
  }
  if (is_tls) StartTls(options.tls_version);
}

void RawConnection::StartTls(int version) {
  // OpenSSL writes to sockets that the peer has closed.
  signal(SIGPIPE, SIG_IGN);
  SSL_CTX* context = SSL_CTX_new(TLS_client_method());
  // So that a server can be seen to refuse the old ones.
  SSL_CTX_set_security_level(context, 0);
  SSL_CTX_set_min_proto_version(context, version);
  SSL_CTX_set_max_proto_version(context, version);
  ssl_ = SSL_new(context);
  SSL_CTX_free(context);
  SSL_set_fd(ssl_, fd_);
  if (SSL_connect(ssl_) == 1) return;
  is_tls_broken_ = true;
  SSL_free(std::exchange(ssl_, nullptr));
  ERR_clear_error();
}

RawConnection::~RawConnection() {
  SSL_free(ssl_);
  if (fd_ >= 0) close(fd_);
}

bool RawConnection::Send(absl::string_view bytes) {
  while (!bytes.empty() && !is_tls_broken_) {
    const ssize_t count =
        ssl_ == nullptr
            ? send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL)
            : SSL_write(ssl_, bytes.data(), static_cast<int>(bytes.size()));
    if (count <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(count));
  }
  return !is_tls_broken_;
}

void RawConnection::ShutdownWrite() { shutdown(fd_, SHUT_WR); }

std::string RawConnection::ReadSome(absl::Duration timeout) {
  if (is_tls_broken_) return "";
  pollfd waiting = {.fd = fd_, .events = POLLIN, .revents = 0};
  if ((ssl_ == nullptr || SSL_pending(ssl_) == 0) &&
      poll(&waiting, 1, static_cast<int>(absl::ToInt64Milliseconds(timeout))) <=
          0) {
    return "";
  }
  std::string buffer(64 << 10, '\0');
  const ssize_t count =
      ssl_ == nullptr
          ? recv(fd_, buffer.data(), buffer.size(), 0)
          : SSL_read(ssl_, buffer.data(), static_cast<int>(buffer.size()));
  ERR_clear_error();
  buffer.resize(count > 0 ? static_cast<size_t>(count) : 0);
  return buffer;
}

std::string RawConnection::ReadAll(absl::Duration timeout) {
  const absl::Duration until = Clock::Real().SteadyNow() + timeout;
  std::string all = std::move(unread_);
  unread_.clear();
  while (true) {
    const absl::Duration left = until - Clock::Real().SteadyNow();
    if (left <= absl::ZeroDuration()) return all;
    const std::string piece = ReadSome(left);
    if (piece.empty()) return all;
    all += piece;
  }
}

RawAnswer RawConnection::ReadAnswer(bool head_only, absl::Duration timeout) {
  const absl::Duration until = Clock::Real().SteadyNow() + timeout;
  while (true) {
    const size_t end = unread_.find("\r\n\r\n");
    if (end != std::string::npos) {
      const RawAnswer head = ParseAnswer(unread_.substr(0, end + 4));
      size_t size = end + 4;
      if (head_only) {
        // No body, whatever the head says of one.
      } else if (head.Header("Transfer-Encoding") == "chunked") {
        const size_t last = unread_.find("\r\n0\r\n\r\n", end);
        size = last == std::string::npos ? unread_.size() + 1 : last + 7;
      } else {
        size_t length = 0;
        (void)absl::SimpleAtoi(head.Header("Content-Length"), &length);
        size += length;
      }
      if (unread_.size() >= size) {
        RawAnswer answer = ParseAnswer(unread_.substr(0, size));
        unread_.erase(0, size);
        return answer;
      }
    }
    const absl::Duration left = until - Clock::Real().SteadyNow();
    const std::string piece =
        left > absl::ZeroDuration() ? ReadSome(left) : std::string();
    if (piece.empty()) return ParseAnswer(std::exchange(unread_, ""));
    unread_ += piece;
  }
}

bool RawConnection::ClosedWithin(absl::Duration timeout) {
  pollfd waiting = {.fd = fd_, .events = POLLIN, .revents = 0};
  if (poll(&waiting, 1, static_cast<int>(absl::ToInt64Milliseconds(timeout))) <=
      0) {
    return false;
  }
  char byte = 0;
  return is_tls_broken_ || (ssl_ == nullptr ? recv(fd_, &byte, 1, 0)
                                            : SSL_read(ssl_, &byte, 1)) <= 0;
}

std::string RawAnswer::Header(absl::string_view name) const {
  for (const absl::string_view line : absl::StrSplit(head, "\r\n")) {
    const std::pair<absl::string_view, absl::string_view> parts =
        absl::StrSplit(line, absl::MaxSplits(':', 1));
    if (absl::EqualsIgnoreCase(parts.first, name)) {
      return std::string(absl::StripAsciiWhitespace(parts.second));
    }
  }
  return "";
}

RawAnswer ParseAnswer(const std::string& bytes) {
  RawAnswer answer;
  const size_t end = bytes.find("\r\n\r\n");
  answer.head = bytes.substr(0, end);
  if (end != std::string::npos) answer.body = bytes.substr(end + 4);
  const std::vector<std::string> words = absl::StrSplit(answer.head, ' ');
  if (words.size() > 1) (void)absl::SimpleAtoi(words[1], &answer.code);
  return answer;
}

RawAnswer Ask(const std::string& address, absl::string_view method,
              absl::string_view target, absl::string_view body,
              const std::vector<std::string>& headers) {
  std::string request = absl::StrCat(method, " ", target, " HTTP/1.1\r\n");
  bool has_host = false;
  bool has_length = false;
  bool has_connection = false;
  for (const std::string& header : headers) {
    has_host = has_host || absl::StartsWithIgnoreCase(header, "host:");
    has_length =
        has_length || absl::StartsWithIgnoreCase(header, "content-length:");
    has_connection =
        has_connection || absl::StartsWithIgnoreCase(header, "connection:");
    absl::StrAppend(&request, header, "\r\n");
  }
  if (!has_host) {
    absl::StrAppend(&request, "Host: ", absl::StripPrefix(address, kTls),
                    "\r\n");
  }
  if (!has_length && (!body.empty() || method == "POST" || method == "PUT")) {
    absl::StrAppend(&request, "Content-Length: ", body.size(), "\r\n");
  }
  if (!has_connection) absl::StrAppend(&request, "Connection: close\r\n");
  absl::StrAppend(&request, "\r\n", body);
  RawConnection connection(address);
  connection.Send(request);
  return ParseAnswer(connection.ReadAll());
}

}  // namespace camherd::gateway
