// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "gateway/backend_clients.h"
#include "gateway/route.h"

namespace camherd::gateway {

// /api/v1/cameras: the cameras as places. `clients` must outlive the routes.
Routes CameraRoutes(BackendClients& clients);

}  // namespace camherd::gateway
