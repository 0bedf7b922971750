// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/socket.h>
#include <sys/types.h>

#include <cstdint>
#include <optional>

#include "absl/status/status.h"
#include "services/capture/address_policy.h"
#include "services/capture/ip_address.h"
#include "services/capture/socket_read_ahead.h"

namespace camherd::capture {

// Holds the sockets that libavformat opens for one camera: to whom they speak,
// by an AddressPolicy, and how much they may bring.
//
// libavformat follows redirects and looks their names up itself, so that a name
// checked before may lead elsewhere by then; over UDP it sends to any host that
// the camera's answer names (RFC 2326 §12.39, `source`); and it gathers
// answers, and pictures that do not end, as long as there is memory.
//
// It does all that by the C library's connect(), sendto(), sendmsg(), recv(),
// recvfrom() and poll(). The file of this class defines functions of these
// names, which the dynamic linker takes instead for the whole program. Within a
// Scope the first three fail with EACCES, before anything has left the machine,
// where the policy denies the address, or where a datagram would go to another
// host than the camera, which is the one connected to last; what the next two
// bring is counted; and recv() and poll() answer from what a SocketReadAhead
// has. In any other case they call the C library's own.
//
// Used by one thread.
class SocketGuard {
 public:
  explicit SocketGuard(const AddressPolicy& policy) : policy_(policy) {}

  // The sockets of this thread are held from here on to the end of it.
  class Scope {
   public:
    // Both must outlive it, and the socket that `ahead` has taken must stay
    // open between the connection's first Scope with it and the last. Null:
    // nothing is read ahead.
    explicit Scope(SocketGuard& guard, SocketReadAhead* ahead = nullptr);
    ~Scope();

    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;
  };

  // Why a peer was refused first, kPermissionDenied; OK: none was.
  const absl::Status& refusal() const { return refusal_; }
  // Bytes received within its scopes.
  int64_t received_bytes() const { return received_bytes_; }

  // Whether the socket `fd` may connect or send to `address`.
  bool Allows(int fd, const sockaddr* address);
  // `result` of a call that receives.
  void Received(ssize_t result);

 private:
  const AddressPolicy policy_;
  std::optional<IpAddress> camera_;
  absl::Status refusal_;
  int64_t received_bytes_ = 0;
};

}  // namespace camherd::capture
