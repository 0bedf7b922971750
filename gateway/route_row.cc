// SPDX-License-Identifier: Apache-2.0
#include "gateway/route_row.h"

#include <utility>

#include "gateway/http_status.h"

namespace camherd::gateway {

Route BackendRoute(BackendClients& clients, Lane lane, const char* method,
                   const char* path, BackendHandler handler) {
  return Route{.method = method,
               .path = path,
               .lane = lane,
               .handler = [&clients, handler](const HttpRequest& request) {
                 absl::StatusOr<HttpResponse> response =
                     handler(clients, request);
                 return response.ok() ? *std::move(response)
                                      : ErrorAnswer(response.status());
               }};
}

}  // namespace camherd::gateway
