// SPDX-License-Identifier: Apache-2.0
#include "gateway/route_row.h"

#include <memory>
#include <utility>

#include "gateway/http_status.h"

namespace camherd::gateway {

Route BackendRoute(BackendClients& clients, Lane lane, Access access,
                   const char* method, const char* path,
                   BackendHandler handler) {
  return Route{
      .method = method,
      .path = path,
      .access = access,
      .lane = lane,
      .handler = [&clients, handler](const HttpRequest& request) {
        // shared_ptr since std::function wants to be copyable.
        const auto own =
            std::make_shared<BackendClients>(clients.As(request.caller));
        absl::StatusOr<HttpResponse> response = handler(*own, request);
        if (response.ok() && response->next_piece != nullptr) {
          // What makes the pieces uses the clients.
          response->next_piece = [own, next = std::move(response->next_piece)] {
            return next();
          };
        }
        return response.ok() ? *std::move(response)
                             : ErrorAnswer(response.status());
      }};
}

}  // namespace camherd::gateway
