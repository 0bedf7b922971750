// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "gateway/backend_clients.h"
#include "gateway/live_count.h"
#include "gateway/live_pictures.h"
#include "gateway/route.h"

namespace camherd::gateway {

// GET /api/v1/streams/{stream}/live.mjpeg. All must outlive the routes and the
// answers they give.
Routes LiveRoutes(BackendClients& clients, LivePictures& pictures,
                  LiveCount& viewers);

}  // namespace camherd::gateway
