// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "gateway/backend_clients.h"
#include "gateway/route.h"

namespace camherd::gateway {

// The endpoints of the two documents Camherd grew from, as thin aliases of the
// RPCs. Each takes JSON or a form.
//
//   POST /start_stream  rtsp_url, camera_id, model_name ("animals" if left
//     out), interval: JSON {"message":"Stream started",...}
//   POST /start         rtsp_url, interval (1 if left out), no model:
//     text "Video stream started: process_name=demo"
//   POST /stop          process_name: an HTML page that holds the picture of
//     the nine brightest frames, or says why there is none
//
// `clients` must outlive the routes.
Routes DocumentRoutes(BackendClients& clients);

}  // namespace camherd::gateway
