// SPDX-License-Identifier: Apache-2.0
// camherd-gateway: REST, the documents' endpoints and the page, in front of
// the three services.

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_join.h"
#include "gateway/authenticator.h"
#include "gateway/backend_clients.h"
#include "gateway/camera_routes.h"
#include "gateway/document_routes.h"
#include "gateway/event_hub.h"
#include "gateway/event_routes.h"
#include "gateway/gateway_config.h"
#include "gateway/gateway_metrics.h"
#include "gateway/health_routes.h"
#include "gateway/http_server.h"
#include "gateway/listen_socket.h"
#include "gateway/live_count.h"
#include "gateway/live_pictures.h"
#include "gateway/live_routes.h"
#include "gateway/livez_check.h"
#include "gateway/login_routes.h"
#include "gateway/model_routes.h"
#include "gateway/openapi_routes.h"
#include "gateway/page_routes.h"
#include "gateway/probe_routes.h"
#include "gateway/record_routes.h"
#include "gateway/stats_routes.h"
#include "gateway/stream_routes.h"
#include "services/common/clock.h"
#include "services/common/log.h"
#include "services/common/metrics_exporter.h"
#include "services/common/service_main.h"
#include "services/common/systemd_notifier.h"

namespace camherd::gateway {
namespace {

// How long the server may take to answer its own watchdog.
constexpr absl::Duration kLivezTimeout = absl::Seconds(10);

bool IsOnLoopback(const std::vector<std::string>& addresses) {
  return std::all_of(addresses.begin(), addresses.end(),
                     [](const std::string& address) {
                       const auto host = ListenHost(address);
                       return host.ok() && IsLoopbackHost(*host);
                     });
}

void Append(Routes more, Routes* routes) {
  for (Route& route : more) routes->push_back(std::move(route));
}

int Main(int argc, char** argv) {
  ServiceArgs args = StartServiceMain(
      argc, argv, "gateway", "REST and web page in front of Camherd's services",
      {HealthOption()});
  if (args.done) return args.exit_code;
  ConfigSection section = args.config.Section("gateway");
  const absl::StatusOr<GatewayConfig> config = LoadGatewayConfig(section);
  if (!config.ok()) {
    LogError("bad configuration", {{"error", config.status().message()}});
    return 2;
  }
  if (args.check_config) {
    if (const auto tokens = Authenticator::Create(config->auth, Clock::Real());
        !tokens.ok()) {
      LogError("the tokens are not usable", {{"error", tokens.status()}});
      return 2;
    }
    std::puts("configuration ok");
    return 0;
  }
  const bool tls = !config->http.front.tls.certificate.empty();
  if (args.own.contains("health")) {
    return RunHealthCommand(config->http.listen.front(), tls);
  }
  LogInfo("configuration",
          {{"values", absl::StrJoin(section.effective(), " ")}});

  const auto exporter = MetricsExporter::Create(config->metrics_listen);
  if (!exporter.ok()) {
    LogError("cannot serve metrics", {{"error", exporter.status().message()}});
    return 1;
  }
  GatewayMetrics metrics(*(*exporter)->registry());
  Authenticator::Options auth = config->auth;
  auth.reloaded = [&metrics](bool ok) { metrics.TokensReloaded(ok); };
  const auto authenticator = Authenticator::Create(auth, Clock::Real());
  if (!authenticator.ok()) {
    LogError("the tokens are not usable", {{"error", authenticator.status()}});
    return 2;
  }
  if ((*authenticator)->required() && !args.grpc.closed()) {
    LogWarning(
        "who is on this machine can go past gateway.auth, straight to the "
        "services; grpc.token_file or grpc.tls_* closes that way");
  }
  BackendClients::Options backends = config->backends;
  backends.security = args.grpc;
  BackendClients clients(backends);
  EventHub hub({.on_peer =
                    [&metrics](const char* service, bool connected) {
                      metrics.SetServiceConnected(service, connected);
                    }},
               clients);
  LiveCount listeners(
      config->max_event_listeners, "listen to events",
      [&metrics](size_t count) { metrics.SetEventListeners(count); });
  LivePictures pictures({}, clients);
  LiveCount viewers(
      config->max_live_viewers, "watch live pictures",
      [&metrics](size_t count) { metrics.SetPictureViewers(count); });
  std::atomic<bool> stopping = false;

  Routes routes = PageRoutes(config->static_dir, config->map_tile_url,
                             config->map_attribution);
  Append(LoginRoutes(**authenticator), &routes);
  Append(DocumentRoutes(clients), &routes);
  Append(StreamRoutes(clients), &routes);
  Append(ProbeRoutes(clients), &routes);
  Append(RecordRoutes(clients), &routes);
  Append(CameraRoutes(clients), &routes);
  Append(ModelRoutes(clients), &routes);
  Append(StatsRoutes(clients), &routes);
  Append(OpenApiRoutes(), &routes);
  Append(EventRoutes(hub, listeners), &routes);
  Append(LiveRoutes(clients, pictures, viewers), &routes);
  Append(
      HealthRoutes(
          clients, [&exporter] { return (*exporter)->Exposition(); }, stopping),
      &routes);
  const auto server = HttpServer::Start(config->http, std::move(routes),
                                        **authenticator, metrics);
  if (!server.ok()) {
    LogError("cannot serve", {{"error", server.status().message()}});
    return 1;
  }
  hub.Start([&pictures](const v1::WatchStreamsResponse* news) {
    pictures.OnStream(news);
  });
  if (args.grpc.tls()) {
    (*exporter)->WatchCertificate(args.grpc.certificate_file);
  }
  (*exporter)->SetReady(true);
  LogInfo("serving", {{"http", absl::StrJoin((*server)->addresses(), ",")},
                      {"metrics", (*exporter)->address()}});

  if (!config->auth.required && !IsOnLoopback((*server)->addresses())) {
    LogWarning(
        "gateway.auth is none: everyone who reaches these addresses may start "
        "and stop streams",
        {{"http", absl::StrJoin((*server)->addresses(), ",")}});
  }
  SystemdNotifier systemd([&server, tls] {
    return CheckLivez((*server)->addresses().front(), tls, kLivezTimeout);
  });

  ShutdownSignal().Wait();
  systemd.Stop();
  stopping = true;
  (*exporter)->SetReady(false);
  Clock::Real().SleepFor(config->not_ready_delay);
  (*server)->Drain(config->drain);
  // What a service still has not answered is cut off here.
  clients.Cancel();
  hub.Stop();
  pictures.Stop();
  (*server)->Stop();
  LogInfo("stopped");
  return 0;
}

}  // namespace
}  // namespace camherd::gateway

int main(int argc, char** argv) { return camherd::gateway::Main(argc, argv); }
