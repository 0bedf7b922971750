// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "gateway/backend_clients.h"
#include "gateway/route.h"

namespace camherd::gateway {

// /api/v1/models and /api/v1/detect: the inference service. `clients` must
// outlive the routes.
Routes ModelRoutes(BackendClients& clients);

}  // namespace camherd::gateway
