// SPDX-License-Identifier: Apache-2.0
#include "gateway/health_routes.h"

#include <string>
#include <utility>

#include "gateway/answers.h"

namespace camherd::gateway {
namespace {

v1::ServiceReadiness ReadinessOf(const absl::Status& status) {
  v1::ServiceReadiness readiness;
  readiness.set_ready(status.ok());
  readiness.set_reason(std::string(status.message()));
  return readiness;
}

HttpResponse Ready(BackendClients& clients, bool stopping,
                   const Caller& caller) {
  const BackendClients::Health health = clients.CheckHealth();
  v1::Readiness readiness;
  readiness.set_ready(!stopping && health.capture.ok() &&
                      health.inference.ok() && health.aggregator.ok());
  if (stopping) readiness.set_reason("the gateway is stopping");
  *readiness.mutable_services() = ReadinessOf(health);
  if (caller.role == Role::kNone) {
    // A reason may name a file or a machine.
    for (auto& [name, service] : *readiness.mutable_services()) {
      service.clear_reason();
    }
  }
  return JsonAnswer(readiness,
                    readiness.ready() ? HttpCode::kOk : HttpCode::kUnavailable);
}

}  // namespace

google::protobuf::Map<std::string, v1::ServiceReadiness> ReadinessOf(
    const BackendClients::Health& health) {
  google::protobuf::Map<std::string, v1::ServiceReadiness> services;
  services["capture"] = ReadinessOf(health.capture);
  services["inference"] = ReadinessOf(health.inference);
  services["aggregator"] = ReadinessOf(health.aggregator);
  return services;
}

Routes HealthRoutes(BackendClients& clients,
                    const std::function<std::string()>& exposition,
                    const std::atomic<bool>& stopping) {
  Routes routes;
  routes.push_back({.method = "GET",
                    .path = "/livez",
                    .access = Access::Open(),
                    .handler = [](const HttpRequest&) {
                      return HttpResponse{
                          .content_type = "text/plain; charset=utf-8",
                          .body = "ok\n"};
                    }});
  routes.push_back(
      {.method = "GET",
       .path = "/readyz",
       .access = Access::Open(),
       .lane = Lane::kHealth,
       .handler = [&clients, &stopping](const HttpRequest& request) {
         return Ready(clients, stopping.load(), request.caller);
       }});
  routes.push_back({.method = "GET",
                    .path = "/metrics",
                    .access = Access::ForAllCameras(Role::kViewer),
                    .handler = [exposition](const HttpRequest&) {
                      return HttpResponse{
                          .content_type =
                              "text/plain; version=0.0.4; charset=utf-8",
                          .body = exposition()};
                    }});
  return routes;
}

}  // namespace camherd::gateway
