// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace camherd::capture {

// An IPv4 or IPv6 address. IPv4 addresses mapped or compatible into IPv6
// (RFC 4291 §2.5.5) and those carried by NAT64 (RFC 6052) and 6to4 (RFC 3056)
// are taken for the IPv4 address they lead to.
class IpAddress {
 public:
  // REQUIRES: family AF_INET or AF_INET6.
  static IpAddress FromSockaddr(const sockaddr* address);
  // Text in one of the canonical forms (inet_pton). kInvalidArgument.
  static absl::StatusOr<IpAddress> Parse(absl::string_view text);

  // As inet_ntop prints it.
  std::string ToString() const;
  bool is_v4() const { return bytes_.size() == 4; }
  // 4 or 16 bytes in network order.
  const std::vector<uint8_t>& bytes() const { return bytes_; }

 private:
  std::vector<uint8_t> bytes_;
};

}  // namespace camherd::capture
