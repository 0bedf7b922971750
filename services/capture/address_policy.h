#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "services/common/clock.h"

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

// Decides which addresses cameras may have, so that a camera URL is no way
// into what only this host can reach.
//
// Never: the cloud metadata addresses 169.254.169.254 and fd00:ec2::254.
// Only by `allow_networks`: link-local, multicast, broadcast, 0.0.0.0/8 and
// the unspecified address. Loopback by `allow_loopback` or `allow_networks`.
// Everything else, private networks included, is allowed: cameras live there.
//
// Immutable and thread-safe.
class AddressPolicy {
 public:
  struct Options {
    // CIDR, such as `169.254.10.0/24` or `fe80::/10`.
    std::vector<std::string> allow_networks = {};
    bool allow_loopback = true;
  };

  // kInvalidArgument naming the network that is none.
  static absl::StatusOr<AddressPolicy> Create(const Options& options);

  // kPermissionDenied, naming the address and the way to allow it.
  absl::Status Check(const IpAddress& address) const;

 private:
  struct Network {
    IpAddress address;
    int prefix_bits = 0;
  };

  AddressPolicy() = default;

  bool Allowed(const IpAddress& address) const;

  bool allow_loopback_ = true;
  std::vector<Network> allowed_;
};

// Looks up `host` (a name, or a number in any form the system takes) and
// checks every address by `policy`; returns one to connect to, IPv4 first.
// Gives up at `deadline` on `clock`'s steady time, or soon after `cancelled`
// returns true. Errors: kPermissionDenied (any address is denied),
// kUnavailable (unknown), kDeadlineExceeded, kCancelled.
absl::StatusOr<IpAddress> ResolveHost(const std::string& host,
                                      const AddressPolicy& policy,
                                      absl::Duration deadline, Clock& clock,
                                      const std::function<bool()>& cancelled);

}  // namespace camherd::capture
