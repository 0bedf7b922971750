// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <functional>
#include <string>

#include "camherd/v1/gateway.pb.h"
#include "gateway/backend_clients.h"
#include "gateway/route.h"

namespace camherd::gateway {

// Which services are ready, by name, and why not.
google::protobuf::Map<std::string, v1::ServiceReadiness> ReadinessOf(
    const BackendClients::Health& health);

// /livez: this process answers. /readyz: and so do the three services; else 503
// with the reasons in the body. /metrics: as on the internal address, what
// `exposition` answers.
// All arguments must outlive the routes; `stopping` makes /readyz fail.
Routes HealthRoutes(BackendClients& clients,
                    const std::function<std::string()>& exposition,
                    const std::atomic<bool>& stopping);

}  // namespace camherd::gateway
