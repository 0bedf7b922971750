// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include "services/capture/peers.h"
#include "services/common/grpc_security.h"

namespace camherd::capture {

// The aggregator over gRPC. `target` as MakeChannel takes it.
std::unique_ptr<AggregatorPeer> MakeAggregatorClient(
    const std::string& target, const GrpcSecurity& security = {});

}  // namespace camherd::capture
