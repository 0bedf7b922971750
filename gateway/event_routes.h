// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "gateway/event_hub.h"
#include "gateway/live_count.h"
#include "gateway/route.h"

namespace camherd::gateway {

// GET /api/v1/events. Both must outlive the routes and the answers they give.
Routes EventRoutes(EventHub& hub, LiveCount& listeners);

}  // namespace camherd::gateway
