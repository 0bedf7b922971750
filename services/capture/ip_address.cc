// SPDX-License-Identifier: Apache-2.0
#include "services/capture/ip_address.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>
#include <initializer_list>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace camherd::capture {
namespace {

// The IPv4 address that a 16-byte address stands for, if it does.
std::vector<uint8_t> Unwrapped(std::vector<uint8_t> bytes) {
  const auto starts_with = [&](std::initializer_list<uint8_t> prefix) {
    return std::equal(prefix.begin(), prefix.end(), bytes.begin());
  };
  const auto tail = [&](long at) {
    return std::vector<uint8_t>(bytes.begin() + at, bytes.begin() + at + 4);
  };
  constexpr long kLast = 12;
  if (starts_with({0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff})) {
    return tail(kLast);
  }
  if (starts_with({0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})) {
    // ::a.b.c.d, but not :: and ::1.
    const bool small =
        bytes[12] == 0 && bytes[13] == 0 && bytes[14] == 0 && bytes[15] <= 1;
    return small ? bytes : tail(kLast);
  }
  if (starts_with({0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0})) {
    return tail(kLast);
  }
  if (starts_with({0x20, 0x02})) return tail(2);
  return bytes;
}

}  // namespace

IpAddress IpAddress::FromSockaddr(const sockaddr* address) {
  IpAddress ip;
  if (address->sa_family == AF_INET) {
    const auto* v4 = reinterpret_cast<const sockaddr_in*>(address);
    const auto* bytes = reinterpret_cast<const uint8_t*>(&v4->sin_addr);
    ip.bytes_.assign(bytes, bytes + 4);
  } else {
    const auto* v6 = reinterpret_cast<const sockaddr_in6*>(address);
    const auto* bytes = reinterpret_cast<const uint8_t*>(&v6->sin6_addr);
    ip.bytes_ = Unwrapped(std::vector<uint8_t>(bytes, bytes + 16));
  }
  return ip;
}

absl::StatusOr<IpAddress> IpAddress::Parse(absl::string_view text) {
  const std::string terminated(text);
  sockaddr_in v4 = {};
  v4.sin_family = AF_INET;
  if (inet_pton(AF_INET, terminated.c_str(), &v4.sin_addr) == 1) {
    return FromSockaddr(reinterpret_cast<const sockaddr*>(&v4));
  }
  sockaddr_in6 v6 = {};
  v6.sin6_family = AF_INET6;
  if (inet_pton(AF_INET6, terminated.c_str(), &v6.sin6_addr) == 1) {
    return FromSockaddr(reinterpret_cast<const sockaddr*>(&v6));
  }
  return absl::InvalidArgumentError(
      absl::StrCat("`", text, "` is not an IP address"));
}

std::string IpAddress::ToString() const {
  char text[INET6_ADDRSTRLEN] = {0};
  inet_ntop(is_v4() ? AF_INET : AF_INET6, bytes_.data(), text, sizeof(text));
  return text;
}

}  // namespace camherd::capture
