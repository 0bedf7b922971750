// SPDX-License-Identifier: Apache-2.0
#include "gateway/model_routes.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gateway/answers.h"
#include "gateway/request_fields.h"
#include "gateway/route_row.h"
#include "services/common/status_macros.h"

namespace camherd::gateway {
namespace {

absl::StatusOr<HttpResponse> List(BackendClients& clients,
                                  const HttpRequest& request) {
  CAMHERD_RETURN_IF_ERROR(NoQuery(request));
  CAMHERD_ASSIGN_OR_RETURN(const v1::ListModelsResponse listed,
                           clients.ListModels());
  return JsonAnswer(listed);
}

absl::StatusOr<HttpResponse> Get(BackendClients& clients,
                                 const HttpRequest& request) {
  v1::GetModelRequest get;
  CAMHERD_RETURN_IF_ERROR(NoQuery(request));
  get.set_name(request.path_values[0]);
  CAMHERD_ASSIGN_OR_RETURN(const v1::Model model, clients.GetModel(get));
  return JsonAnswer(model);
}

// 202: the preparation goes on, its progress is read by GET. 200: it was ready.
absl::StatusOr<HttpResponse> Prepare(BackendClients& clients,
                                     const HttpRequest& request) {
  v1::PrepareModelRequest prepare;
  CAMHERD_RETURN_IF_ERROR(ReadBody(request, {.hidden = {"name"}}, &prepare));
  prepare.set_name(request.path_values[0]);
  CAMHERD_ASSIGN_OR_RETURN(const v1::Model model,
                           clients.PrepareModel(prepare));
  HttpResponse response = JsonAnswer(
      model, model.state() == v1::MODEL_STATE_READY && !model.preparing()
                 ? HttpCode::kOk
                 : HttpCode::kAccepted);
  response.headers.emplace_back("Location",
                                absl::StrCat("/api/v1/models/", model.name()));
  return response;
}

absl::StatusOr<HttpResponse> Unload(BackendClients& clients,
                                    const HttpRequest& request) {
  v1::UnloadModelRequest unload;
  CAMHERD_RETURN_IF_ERROR(ReadBody(request, {.hidden = {"name"}}, &unload));
  unload.set_name(request.path_values[0]);
  CAMHERD_ASSIGN_OR_RETURN(const v1::Model model, clients.UnloadModel(unload));
  return JsonAnswer(model);
}

// The body is the JPEG; model, min_score and nms_iou are in the query.
absl::StatusOr<HttpResponse> Detect(BackendClients& clients,
                                    const HttpRequest& request) {
  v1::DetectRequest detect;
  CAMHERD_RETURN_IF_ERROR(ReadQuery(request, {}, &detect));
  if (detect.model().empty()) {
    return absl::InvalidArgumentError("model must be given in the query");
  }
  if (!absl::StartsWith(request.body, "\xff\xd8\xff")) {
    return absl::InvalidArgumentError(
        absl::StrCat("the body must be a JPEG, got ", request.body.size(),
                     " bytes of something else"));
  }
  detect.set_jpeg(request.body);
  CAMHERD_ASSIGN_OR_RETURN(const v1::DetectResponse detected,
                           clients.Detect(detect));
  return JsonAnswer(detected);
}

}  // namespace

Routes ModelRoutes(BackendClients& clients) {
  const Access viewer = Access::For(Role::kViewer);
  const auto row = [&clients](Access access, const char* method,
                              const char* path, BackendHandler handler) {
    return BackendRoute(clients, Lane::kInference, access, method, path,
                        handler);
  };
  Route detect =
      row(Access::For(Role::kOperator), "POST", "/api/v1/detect", Detect);
  detect.max_body = 16 << 20;
  detect.read_timeout = absl::Seconds(30);
  // The last is what curl sends where it is told nothing.
  detect.body_types = {"image/jpeg", "application/octet-stream",
                       "application/x-www-form-urlencoded"};
  return {
      row(viewer, "GET", "/api/v1/models", List),
      row(viewer, "GET", "/api/v1/models/{name}", Get),
      row(Access::ForAllCameras(Role::kOperator), "POST",
          "/api/v1/models/{name}/prepare", Prepare),
      row(Access::ForAllCameras(Role::kAdmin), "POST",
          "/api/v1/models/{name}/unload", Unload),
      std::move(detect),
  };
}

}  // namespace camherd::gateway
