// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "gateway/authenticator.h"
#include "gateway/route.h"

namespace camherd::gateway {

// POST /api/v1/login and /api/v1/logout, GET /api/v1/session: a token against a
// cookie, for browsers. `authenticator` must outlive the routes.
Routes LoginRoutes(Authenticator& authenticator);

}  // namespace camherd::gateway
