// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <grpcpp/channel.h>

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "services/common/grpc_security.h"

namespace camherd {

// How long a service may take to answer its own watchdog.
inline constexpr absl::Duration kHealthTimeout = absl::Seconds(10);

// Asks the gRPC server of a service on this machine how it fares, by the health
// service that all of ours have.
//
// Thread-safe.
class GrpcHealthCheck {
 public:
  // `listen` as the service has it: host:port, where every address is asked by
  // loopback, or unix:path. With TLS the certificate need not name the address
  // that is asked: it is this machine's own.
  GrpcHealthCheck(absl::string_view listen, const GrpcSecurity& security);

  // True: it serves. False: it answers, but is not ready, with `reason` where
  // that is known and asked for. kUnavailable, kDeadlineExceeded: no answer
  // within `timeout`.
  absl::StatusOr<bool> IsServing(absl::Duration timeout,
                                 std::string* reason = nullptr) const;

 private:
  const std::string target_;
  // shared_ptr as gRPC has it.
  const std::shared_ptr<grpc::Channel> channel_;
};

// The option --health of a service, as a container's health check: prints how
// the service that listens on `listen` fares; 0: it serves, 1: it does not.
int RunHealthCommand(absl::string_view listen, const GrpcSecurity& security);

}  // namespace camherd
