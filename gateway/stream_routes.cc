// SPDX-License-Identifier: Apache-2.0
#include "gateway/stream_routes.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "gateway/answers.h"
#include "gateway/request_fields.h"
#include "gateway/route_row.h"
#include "gateway/start_fields.h"
#include "services/common/status_macros.h"

namespace camherd::gateway {
namespace {

absl::StatusOr<HttpResponse> Start(BackendClients& clients,
                                   const HttpRequest& request) {
  v1::StartStreamRequest start;
  CAMHERD_RETURN_IF_ERROR(ReadBody(request, StartRules(), &start));
  CAMHERD_ASSIGN_OR_RETURN(const v1::StartStreamResponse started,
                           clients.StartStream(start));
  HttpResponse response = JsonAnswer(
      started, started.already_running() ? HttpCode::kOk : HttpCode::kCreated);
  response.headers.emplace_back(
      "Location",
      absl::StrCat("/api/v1/streams/", started.stream().stream_id()));
  return response;
}

absl::StatusOr<HttpResponse> List(BackendClients& clients,
                                  const HttpRequest& request) {
  v1::ListStreamsRequest list;
  const FieldRules rules = {.aliases = {{"state", {.field = "states"}}}};
  CAMHERD_RETURN_IF_ERROR(ReadQuery(request, rules, &list));
  CAMHERD_ASSIGN_OR_RETURN(const v1::ListStreamsResponse listed,
                           clients.ListStreams(list));
  return JsonAnswer(listed);
}

absl::StatusOr<HttpResponse> Get(BackendClients& clients,
                                 const HttpRequest& request) {
  v1::GetStreamRequest get;
  CAMHERD_RETURN_IF_ERROR(NoQuery(request));
  get.set_stream(request.path_values[0]);
  CAMHERD_ASSIGN_OR_RETURN(const v1::Stream stream, clients.GetStream(get));
  return JsonAnswer(stream);
}

absl::StatusOr<HttpResponse> Update(BackendClients& clients,
                                    const HttpRequest& request) {
  v1::UpdateStreamRequest update;
  CAMHERD_RETURN_IF_ERROR(ReadBody(request, {.hidden = {"stream"}}, &update));
  update.set_stream(request.path_values[0]);
  CAMHERD_ASSIGN_OR_RETURN(const v1::Stream stream,
                           clients.UpdateStream(update));
  return JsonAnswer(stream);
}

absl::StatusOr<HttpResponse> Delete(BackendClients& clients,
                                    const HttpRequest& request) {
  v1::DeleteStreamRequest forget;
  CAMHERD_RETURN_IF_ERROR(NoQuery(request));
  forget.set_stream(request.path_values[0]);
  CAMHERD_RETURN_IF_ERROR(clients.DeleteStream(forget).status());
  return HttpResponse{.code = HttpCode::kNoContent};
}

// `?grid_jpeg=true` puts the picture, base64, into the answer.
absl::StatusOr<HttpResponse> Stop(BackendClients& clients,
                                  const HttpRequest& request) {
  bool with_grid = false;
  if (request.query == "grid_jpeg=true") {
    with_grid = true;
  } else {
    CAMHERD_RETURN_IF_ERROR(NoQuery(request));
  }
  v1::StopStreamRequest stop;
  HttpRequest body = request;
  body.query.clear();
  CAMHERD_RETURN_IF_ERROR(ReadBody(body, {.hidden = {"stream"}}, &stop));
  stop.set_stream(request.path_values[0]);
  CAMHERD_ASSIGN_OR_RETURN(const v1::StopStreamResponse stopped,
                           clients.StopStream(stop));
  return JsonAnswer(stopped, HttpCode::kOk, with_grid);
}

absl::StatusOr<HttpResponse> LatestPicture(BackendClients& clients,
                                           const HttpRequest& request) {
  v1::GetLatestFrameRequest get;
  CAMHERD_RETURN_IF_ERROR(
      // A page that shows a picture again needs another address for it.
      ReadQuery(request, {.hidden = {"stream"}, .ignored = "v"}, &get));
  get.set_stream(request.path_values[0]);
  CAMHERD_ASSIGN_OR_RETURN(v1::GetLatestFrameResponse frame,
                           clients.GetLatestFrame(get));
  const v1::FrameInfo& info = frame.frame().info();
  HttpResponse response =
      JpegAnswer(request, std::move(*frame.mutable_frame()->mutable_jpeg()),
                 absl::StrCat(info.sha256(), "/", get.acknowledged(),
                              get.boxes(), "/", get.width()));
  response.headers.emplace_back("X-Frame-Seq", absl::StrCat(info.frame_seq()));
  response.headers.emplace_back("X-Frame-Age-Seconds",
                                absl::StrCat(frame.age_seconds()));
  return response;
}

absl::StatusOr<HttpResponse> GridCells(BackendClients& clients,
                                       const HttpRequest& request) {
  CAMHERD_RETURN_IF_ERROR(NoQuery(request));
  v1::GetGridRequest get;
  get.set_stream(request.path_values[0]);
  get.set_cells_only(true);
  CAMHERD_ASSIGN_OR_RETURN(const v1::GetGridResponse grid,
                           clients.GetGrid(get));
  return JsonAnswer(grid.grid());
}

absl::StatusOr<HttpResponse> GridPicture(BackendClients& clients,
                                         const HttpRequest& request) {
  CAMHERD_RETURN_IF_ERROR(NoQuery(request));
  v1::GetGridRequest get;
  get.set_stream(request.path_values[0]);
  CAMHERD_ASSIGN_OR_RETURN(v1::GetGridResponse grid, clients.GetGrid(get));
  std::string version;
  for (const v1::FrameInfo& cell : grid.grid().cells()) {
    absl::StrAppend(&version, cell.sha256());
  }
  return JpegAnswer(request, std::move(*grid.mutable_jpeg()), version);
}

}  // namespace

Routes StreamRoutes(BackendClients& clients) {
  const Access viewer = Access::For(Role::kViewer);
  const Access changer = Access::For(Role::kOperator);
  const auto row = [&clients](Access access, const char* method,
                              const char* path, BackendHandler handler) {
    return BackendRoute(clients, Lane::kCapture, access, method, path, handler);
  };
  const auto picture = [&clients, viewer](const char* path,
                                          BackendHandler handler) {
    return BackendRoute(clients, Lane::kCapturePictures, viewer, "GET", path,
                        handler);
  };
  return {
      row(viewer, "GET", "/api/v1/streams", List),
      row(changer, "POST", "/api/v1/streams", Start),
      row(viewer, "GET", "/api/v1/streams/{stream}", Get),
      row(changer, "PATCH", "/api/v1/streams/{stream}", Update),
      row(changer, "DELETE", "/api/v1/streams/{stream}", Delete),
      row(changer, "POST", "/api/v1/streams/{stream}/stop", Stop),
      picture("/api/v1/streams/{stream}/latest.jpg", LatestPicture),
      picture("/api/v1/streams/{stream}/grid.jpg", GridPicture),
      row(viewer, "GET", "/api/v1/streams/{stream}/grid.json", GridCells),
  };
}

}  // namespace camherd::gateway
