// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "services/capture/ip_address.h"

namespace camherd::capture {

// A connection to a camera's port as plain bytes, over TLS where asked: for
// looking at what answers there before a PacketSource does.
//
// Every call ends at its deadline (steady clock), or soon after the caller has
// gone: kDeadlineExceeded, kCancelled. Used by one thread.
class CameraConnection {
 public:
  struct Target {
    IpAddress address;
    uint16_t port = 554;
    bool tls = false;
    // As in PacketSource::Options. `host` is who the certificate is for.
    std::string host = {};
    bool tls_verify = true;
    std::string tls_ca_file = {};
  };

  virtual ~CameraConnection() = default;

  // kUnavailable: refused, or no way there. kPermissionDenied: its certificate
  // is not trusted. kFailedPrecondition: the TLS handshake failed otherwise.
  virtual absl::Status Open(const Target& target, absl::Duration deadline) = 0;

  // kUnavailable: the peer has closed it.
  virtual absl::Status Write(absl::string_view bytes,
                             absl::Duration deadline) = 0;

  // What has come, at least one byte and a few kilobytes at most.
  // kUnavailable: the peer has closed it.
  virtual absl::StatusOr<std::string> Read(absl::Duration deadline) = 0;
};

// `cancelled` is asked from within the calls.
using CameraConnectionFactory = std::function<std::unique_ptr<CameraConnection>(
    std::function<bool()> cancelled)>;

}  // namespace camherd::capture
