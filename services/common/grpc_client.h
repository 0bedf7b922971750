// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include <memory>
#include <string>

#include "absl/time/time.h"
#include "services/common/grpc_security.h"

namespace camherd {

// A channel to a peer (`host:port`, `dns:///name:port`, `unix:path`),
// round_robin over its addresses, with keepalive and a reconnect backoff of at
// most 5 s. Plain text, or TLS where `security` has certificates: that of the
// peer must be for the target's name or address. Each call carries the token.
// Never fails: what is wrong shows at the first call.
std::shared_ptr<grpc::Channel> MakeChannel(const std::string& target,
                                           const GrpcSecurity& security = {});

// Sets the deadline every outgoing call must have: `timeout` from now, or the
// caller's own remaining time (`caller_deadline`) where that is less.
void SetDeadline(grpc::ClientContext& context, absl::Duration timeout,
                 absl::Time caller_deadline = absl::InfiniteFuture());

}  // namespace camherd
