// SPDX-License-Identifier: Apache-2.0
// camherd-gateway: REST, the documents' endpoints and the page, in front of
// the three services.

#include <atomic>
#include <cstdio>
#include <utility>

#include "absl/strings/str_join.h"
#include "gateway/backend_clients.h"
#include "gateway/camera_routes.h"
#include "gateway/document_routes.h"
#include "gateway/gateway_config.h"
#include "gateway/gateway_metrics.h"
#include "gateway/health_routes.h"
#include "gateway/http_server.h"
#include "gateway/model_routes.h"
#include "gateway/page_routes.h"
#include "gateway/probe_routes.h"
#include "gateway/record_routes.h"
#include "gateway/stream_routes.h"
#include "services/common/clock.h"
#include "services/common/log.h"
#include "services/common/metrics_exporter.h"
#include "services/common/service_main.h"

namespace camherd::gateway {
namespace {

void Append(Routes more, Routes* routes) {
  for (Route& route : more) routes->push_back(std::move(route));
}

int Main(int argc, char** argv) {
  ServiceArgs args =
      StartServiceMain(argc, argv, "gateway",
                       "REST and web page in front of Camherd's services");
  if (args.done) return args.exit_code;
  ConfigSection section = args.config.Section("gateway");
  const absl::StatusOr<GatewayConfig> config = LoadGatewayConfig(section);
  if (!config.ok()) {
    LogError("bad configuration", {{"error", config.status().message()}});
    return 2;
  }
  if (args.check_config) {
    std::puts("configuration ok");
    return 0;
  }
  LogInfo("configuration",
          {{"values", absl::StrJoin(section.effective(), " ")}});

  const auto exporter = MetricsExporter::Create(config->metrics_listen);
  if (!exporter.ok()) {
    LogError("cannot serve metrics", {{"error", exporter.status().message()}});
    return 1;
  }
  GatewayMetrics metrics(*(*exporter)->registry());
  BackendClients clients(config->backends);
  std::atomic<bool> stopping = false;

  Routes routes = PageRoutes(config->static_dir);
  Append(DocumentRoutes(clients), &routes);
  Append(StreamRoutes(clients), &routes);
  Append(ProbeRoutes(clients), &routes);
  Append(RecordRoutes(clients), &routes);
  Append(CameraRoutes(clients), &routes);
  Append(ModelRoutes(clients), &routes);
  Append(HealthRoutes(clients, metrics, stopping), &routes);
  const auto server =
      HttpServer::Start(config->http, std::move(routes), metrics);
  if (!server.ok()) {
    LogError("cannot serve", {{"error", server.status().message()}});
    return 1;
  }
  LogInfo("serving", {{"http", absl::StrJoin((*server)->addresses(), ",")},
                      {"metrics", (*exporter)->address()}});

  ShutdownSignal().Wait();
  stopping = true;
  Clock::Real().SleepFor(config->not_ready_delay);
  (*server)->Drain(config->drain);
  // What a service still has not answered is cut off here.
  clients.Cancel();
  (*server)->Stop();
  LogInfo("stopped");
  return 0;
}

}  // namespace
}  // namespace camherd::gateway

int main(int argc, char** argv) { return camherd::gateway::Main(argc, argv); }
