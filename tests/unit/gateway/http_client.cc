// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/gateway/http_client.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "services/common/clock.h"

namespace camherd::gateway {

RawConnection::RawConnection(const std::string& address) {
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
    if (connect(fd_, reinterpret_cast<sockaddr*>(&to), sizeof to) != 0) abort();
  }
}

RawConnection::~RawConnection() {
  if (fd_ >= 0) close(fd_);
}

bool RawConnection::Send(absl::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t count = send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (count < 0) return false;
    bytes.remove_prefix(static_cast<size_t>(count));
  }
  return true;
}

void RawConnection::ShutdownWrite() { shutdown(fd_, SHUT_WR); }

std::string RawConnection::ReadSome(absl::Duration timeout) {
  pollfd waiting = {.fd = fd_, .events = POLLIN, .revents = 0};
  if (poll(&waiting, 1, static_cast<int>(absl::ToInt64Milliseconds(timeout))) <=
      0) {
    return "";
  }
  std::string buffer(64 << 10, '\0');
  const ssize_t count = recv(fd_, buffer.data(), buffer.size(), 0);
  buffer.resize(count > 0 ? static_cast<size_t>(count) : 0);
  return buffer;
}

std::string RawConnection::ReadAll(absl::Duration timeout) {
  const absl::Duration until = Clock::Real().SteadyNow() + timeout;
  std::string all;
  while (true) {
    const absl::Duration left = until - Clock::Real().SteadyNow();
    if (left <= absl::ZeroDuration()) return all;
    const std::string piece = ReadSome(left);
    if (piece.empty()) return all;
    all += piece;
  }
}

bool RawConnection::ClosedWithin(absl::Duration timeout) {
  pollfd waiting = {.fd = fd_, .events = POLLIN, .revents = 0};
  if (poll(&waiting, 1, static_cast<int>(absl::ToInt64Milliseconds(timeout))) <=
      0) {
    return false;
  }
  char byte = 0;
  return recv(fd_, &byte, 1, 0) <= 0;
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
  for (const std::string& header : headers) {
    has_host = has_host || absl::StartsWithIgnoreCase(header, "host:");
    has_length =
        has_length || absl::StartsWithIgnoreCase(header, "content-length:");
    absl::StrAppend(&request, header, "\r\n");
  }
  if (!has_host) absl::StrAppend(&request, "Host: ", address, "\r\n");
  if (!has_length && (!body.empty() || method == "POST" || method == "PUT")) {
    absl::StrAppend(&request, "Content-Length: ", body.size(), "\r\n");
  }
  absl::StrAppend(&request, "\r\n", body);
  RawConnection connection(address);
  connection.Send(request);
  return ParseAnswer(connection.ReadAll());
}

}  // namespace camherd::gateway
