// SPDX-License-Identifier: Apache-2.0
#include "gateway/live_routes.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "gateway/http_status.h"
#include "gateway/request_fields.h"
#include "services/common/status_macros.h"

namespace camherd::gateway {
namespace {

absl::StatusOr<HttpResponse> Live(BackendClients& clients,
                                  LivePictures& pictures, LiveCount& viewers,
                                  const HttpRequest& request) {
  v1::GetLatestFrameRequest get;
  CAMHERD_RETURN_IF_ERROR(
      // As latest.jpg, whose address a page may take.
      ReadQuery(request, {.hidden = {"stream"}, .ignored = "v"}, &get));
  get.set_stream(request.path_values[0]);
  if (request.caller.limited()) {
    // The feed is shared: whether the stream is the caller's is asked here.
    v1::GetStreamRequest own;
    own.set_stream(get.stream());
    CAMHERD_ASSIGN_OR_RETURN(const v1::Stream stream,
                             clients.As(request.caller).GetStream(own));
    get.set_stream(stream.stream_id());
  }
  CAMHERD_ASSIGN_OR_RETURN(LiveCount::Place place, viewers.Enter());
  HttpResponse response;
  CAMHERD_ASSIGN_OR_RETURN(response.live,
                           pictures.View(std::move(get), std::move(place)));
  response.content_type = absl::StrCat("multipart/x-mixed-replace; boundary=",
                                       LivePictures::kBoundary);
  response.headers = {{"Cache-Control", "no-store"},
                      // For proxies that would wait for more.
                      {"X-Accel-Buffering", "no"}};
  return response;
}

}  // namespace

Routes LiveRoutes(BackendClients& clients, LivePictures& pictures,
                  LiveCount& viewers) {
  return {{.method = "GET",
           .path = "/api/v1/streams/{stream}/live.mjpeg",
           .access = Access::For(Role::kViewer),
           .lane = Lane::kCapturePictures,
           .handler =
               [&clients, &pictures, &viewers](const HttpRequest& request) {
                 absl::StatusOr<HttpResponse> response =
                     Live(clients, pictures, viewers, request);
                 return response.ok() ? *std::move(response)
                                      : ErrorAnswer(response.status());
               },
           .as_made = true}};
}

}  // namespace camherd::gateway
