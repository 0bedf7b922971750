// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "gateway/backend_clients.h"
#include "gateway/route.h"

namespace camherd::gateway {

// /api/v1/streams: the stream RPCs of the capture service. `{stream}` is a
// stream id, a process name or a camera id. `clients` must outlive the routes.
Routes StreamRoutes(BackendClients& clients);

}  // namespace camherd::gateway
