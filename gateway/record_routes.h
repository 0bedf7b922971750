// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "gateway/backend_clients.h"
#include "gateway/route.h"

namespace camherd::gateway {

// /api/v1/records and /api/v1/grids: what the aggregator service keeps.
// `clients` must outlive the routes.
Routes RecordRoutes(BackendClients& clients);

}  // namespace camherd::gateway
