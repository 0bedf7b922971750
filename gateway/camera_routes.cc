// SPDX-License-Identifier: Apache-2.0
#include "gateway/camera_routes.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "gateway/answers.h"
#include "gateway/request_fields.h"
#include "gateway/route_row.h"
#include "services/common/status_macros.h"
#include "services/common/utf8.h"

namespace camherd::gateway {
namespace {

absl::StatusOr<HttpResponse> List(BackendClients& clients,
                                  const HttpRequest& request) {
  v1::ListCamerasRequest list;
  CAMHERD_RETURN_IF_ERROR(ReadQuery(request, {}, &list));
  CAMHERD_ASSIGN_OR_RETURN(const v1::ListCamerasResponse listed,
                           clients.ListCameras(list));
  return JsonAnswer(listed);
}

absl::StatusOr<HttpResponse> Get(BackendClients& clients,
                                 const HttpRequest& request) {
  v1::GetCameraRequest get;
  CAMHERD_RETURN_IF_ERROR(NoQuery(request));
  get.set_camera_id(request.path_values[0]);
  CAMHERD_ASSIGN_OR_RETURN(const v1::Camera camera, clients.GetCamera(get));
  return JsonAnswer(camera);
}

absl::StatusOr<HttpResponse> Put(BackendClients& clients,
                                 const HttpRequest& request) {
  v1::UpsertCameraRequest upsert;
  v1::Camera* camera = upsert.mutable_camera();
  CAMHERD_RETURN_IF_ERROR(ReadBody(request, {}, camera));
  if (camera->camera_id().empty()) {
    camera->set_camera_id(request.path_values[0]);
  }
  if (camera->camera_id() != request.path_values[0]) {
    return absl::InvalidArgumentError(
        absl::StrCat("camera_id must be that of the path, \"",
                     request.path_values[0], "\", got another"));
  }
  CAMHERD_ASSIGN_OR_RETURN(const v1::Camera stored,
                           clients.UpsertCamera(upsert));
  return JsonAnswer(stored);
}

absl::StatusOr<HttpResponse> Import(BackendClients& clients,
                                    const HttpRequest& request) {
  CAMHERD_RETURN_IF_ERROR(NoQuery(request));
  if (request.body.empty()) {
    return absl::InvalidArgumentError(
        "the body must be the text of a CSV file, got nothing");
  }
  if (!IsUtf8(request.body)) {
    return absl::InvalidArgumentError("the CSV file must be UTF-8");
  }
  v1::ImportCamerasRequest import;
  import.set_csv(request.body);
  CAMHERD_ASSIGN_OR_RETURN(const v1::ImportCamerasResponse imported,
                           clients.ImportCameras(import));
  return JsonAnswer(imported);
}

}  // namespace

Routes CameraRoutes(BackendClients& clients) {
  const Access viewer = Access::For(Role::kViewer);
  const Access changer = Access::For(Role::kOperator);
  const auto row = [&clients](Access access, const char* method,
                              const char* path, BackendHandler handler) {
    return BackendRoute(clients, Lane::kAggregator, access, method, path,
                        handler);
  };
  Route import = row(Access::ForAllCameras(Role::kAdmin), "POST",
                     "/api/v1/cameras/import", Import);
  import.max_body = 16 << 20;
  import.read_timeout = absl::Seconds(30);
  // The last is what curl sends where it is told nothing.
  import.body_types = {"text/csv", "text/plain", "application/octet-stream",
                       "application/x-www-form-urlencoded"};
  return {
      row(viewer, "GET", "/api/v1/cameras", List),
      row(viewer, "GET", "/api/v1/cameras/{camera_id}", Get),
      row(changer, "PUT", "/api/v1/cameras/{camera_id}", Put),
      std::move(import),
  };
}

}  // namespace camherd::gateway
