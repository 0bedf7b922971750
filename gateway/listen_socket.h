// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace camherd::gateway {

// A listening TCP socket, closed with its owner.
//
// Not thread-safe.
class ListenSocket {
 public:
  ListenSocket(int fd, std::string address)
      : fd_(fd), address_(std::move(address)) {}
  ~ListenSocket();
  ListenSocket(ListenSocket&& other) noexcept
      : fd_(std::exchange(other.fd_, -1)),
        address_(std::move(other.address_)) {}
  ListenSocket& operator=(ListenSocket&&) = delete;

  int fd() const { return fd_; }
  // host:port with the port in use; IPv6 in brackets.
  const std::string& address() const { return address_; }

 private:
  int fd_;
  std::string address_;
};

// Listens on all `addresses` ("localhost:5000", "127.0.0.1:0", "[::]:8000",
// "*:80"). `localhost` is 127.0.0.1 and, where the host has it, ::1 on the same
// port; `*` is all of both. IPv4 sockets come first in the result.
// kInvalidArgument: an address that cannot be read. kUnavailable: one that
// cannot be bound, with the reason.
absl::StatusOr<std::vector<ListenSocket>> Listen(
    const std::vector<std::string>& addresses);

// The host part of a listen address, without brackets. kInvalidArgument, with
// the address, if it is not host:port.
absl::StatusOr<std::string> ListenHost(absl::string_view address);

// True for localhost, 127.0.0.0/8 and ::1.
bool IsLoopbackHost(absl::string_view host);

// True for 0.0.0.0, :: and *.
bool IsWildcardHost(absl::string_view host);

// True for an IPv4 or IPv6 address, brackets left out.
bool IsIpLiteral(absl::string_view host);

}  // namespace camherd::gateway
