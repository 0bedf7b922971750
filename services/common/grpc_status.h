// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <grpcpp/client_context.h>
#include <grpcpp/server_context.h>
#include <grpcpp/support/status.h>

#include <optional>

#include "absl/status/status.h"
#include "absl/time/time.h"

// The one place where absl::Status and grpc::Status meet. A retry delay rides
// on an absl::Status as a payload (retry_delay.h) and on the wire as trailing
// metadata `grpc-retry-pushback-ms` (gRFC A6); the mark of a call without
// effect travels beside it as `camherd-no-effect: 1`.
namespace camherd {

// Secrets in the message are masked. With a context, retry delay and mark are
// added to its trailing metadata.
grpc::Status ToGrpcStatus(const absl::Status& status,
                          grpc::ServerContextBase* context = nullptr);

// With the context of the finished call, its retry delay and mark are attached.
absl::Status FromGrpcStatus(const grpc::Status& status,
                            const grpc::ClientContext* context = nullptr);

}  // namespace camherd
