// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "absl/status/statusor.h"
#include "gateway/backend_clients.h"
#include "gateway/route.h"

namespace camherd::gateway {

// A handler that calls a service and can fail.
using BackendHandler = absl::StatusOr<HttpResponse> (*)(BackendClients&,
                                                        const HttpRequest&);

// A row of the table of routes whose errors are answered as JSON. The handler
// is given the services as the request's caller may use them. `clients` must
// outlive it.
Route BackendRoute(BackendClients& clients, Lane lane, Access access,
                   const char* method, const char* path,
                   BackendHandler handler);

}  // namespace camherd::gateway
