// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "services/capture/ip_address.h"
#include "services/common/clock.h"

namespace camherd::capture {

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
