// SPDX-License-Identifier: Apache-2.0
#include "gateway/health_routes.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "gateway/proto_json.h"

namespace camherd::gateway {
namespace {

std::string ServiceJson(const char* name, const absl::Status& status) {
  return absl::StrCat("\"", name,
                      "\":{\"ready\":", status.ok() ? "true" : "false",
                      ",\"reason\":", QuoteJson(status.message()), "}");
}

HttpResponse Ready(BackendClients& clients, bool stopping) {
  const BackendClients::Health health = clients.CheckHealth();
  const bool ready = !stopping && health.capture.ok() &&
                     health.inference.ok() && health.aggregator.ok();
  HttpResponse response;
  response.code = ready ? HttpCode::kOk : HttpCode::kUnavailable;
  response.content_type = "application/json";
  response.body = absl::StrCat(
      "{\"ready\":", ready ? "true" : "false",
      ",\"reason\":", QuoteJson(stopping ? "the gateway is stopping" : ""),
      ",\"services\":{", ServiceJson("capture", health.capture), ",",
      ServiceJson("inference", health.inference), ",",
      ServiceJson("aggregator", health.aggregator), "}}\n");
  return response;
}

}  // namespace

Routes HealthRoutes(BackendClients& clients, const GatewayMetrics& metrics,
                    const std::atomic<bool>& stopping) {
  Routes routes;
  routes.push_back(
      {.method = "GET", .path = "/livez", .handler = [](const HttpRequest&) {
         return HttpResponse{.content_type = "text/plain; charset=utf-8",
                             .body = "ok\n"};
       }});
  routes.push_back({.method = "GET",
                    .path = "/readyz",
                    .handler = [&clients, &stopping](const HttpRequest&) {
                      return Ready(clients, stopping.load());
                    }});
  routes.push_back({.method = "GET",
                    .path = "/metrics",
                    .handler = [&metrics](const HttpRequest&) {
                      return HttpResponse{
                          .content_type =
                              "text/plain; version=0.0.4; charset=utf-8",
                          .body = metrics.Exposition()};
                    }});
  return routes;
}

}  // namespace camherd::gateway
