// SPDX-License-Identifier: Apache-2.0
#include "gateway/probe_routes.h"

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "gateway/proto_json.h"
#include "gateway/request_fields.h"
#include "gateway/route_row.h"
#include "services/common/status_macros.h"

namespace camherd::gateway {
namespace {

// {"ok":false,"steps":[...]}: ok if all steps are. An answer of 200 says that
// the probe has run, not that the camera is well.
absl::StatusOr<HttpResponse> Probe(BackendClients& clients,
                                   const HttpRequest& request) {
  v1::ProbeSourceRequest probe;
  CAMHERD_RETURN_IF_ERROR(ReadBody(request, {}, &probe));
  CAMHERD_ASSIGN_OR_RETURN(const std::vector<v1::ProbeSourceResponse> steps,
                           clients.ProbeSource(probe));
  const bool ok =
      !steps.empty() && std::all_of(steps.begin(), steps.end(),
                                    [](const v1::ProbeSourceResponse& step) {
                                      return step.ok();
                                    });
  const auto to_json = [](std::string* out,
                          const v1::ProbeSourceResponse& step) {
    *out += ProtoToJson(step);
  };
  HttpResponse response;
  response.content_type = "application/json";
  response.body =
      absl::StrCat("{\"ok\":", ok ? "true" : "false", ",\"steps\":[",
                   absl::StrJoin(steps, ",", to_json), "]}\n");
  return response;
}

}  // namespace

Routes ProbeRoutes(BackendClients& clients) {
  return {BackendRoute(clients, Lane::kProbe, "POST", "/api/v1/probe", Probe)};
}

}  // namespace camherd::gateway
