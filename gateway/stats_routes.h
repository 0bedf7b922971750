// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "gateway/backend_clients.h"
#include "gateway/route.h"

namespace camherd::gateway {

// /api/v1/stats: one look at all three services, for a dashboard. A service
// that does not answer is named in the answer, which tells what the others
// have. `clients` must outlive the routes.
Routes StatsRoutes(BackendClients& clients);

}  // namespace camherd::gateway
