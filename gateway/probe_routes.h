// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "gateway/backend_clients.h"
#include "gateway/route.h"

namespace camherd::gateway {

// /api/v1/probe: tries a camera without starting a stream. `clients` must
// outlive the routes.
Routes ProbeRoutes(BackendClients& clients);

}  // namespace camherd::gateway
