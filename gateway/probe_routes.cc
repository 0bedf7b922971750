// SPDX-License-Identifier: Apache-2.0
#include "gateway/probe_routes.h"

#include <algorithm>
#include <vector>

#include "camherd/v1/gateway.pb.h"
#include "gateway/answers.h"
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
  v1::ProbeReport report;
  report.set_ok(ok);
  report.mutable_steps()->Assign(steps.begin(), steps.end());
  return JsonAnswer(report);
}

}  // namespace

Routes ProbeRoutes(BackendClients& clients) {
  return {BackendRoute(clients, Lane::kProbe, Access::For(Role::kOperator),
                       "POST", "/api/v1/probe", Probe)};
}

}  // namespace camherd::gateway
