// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <prometheus/registry.h>

#include <atomic>
#include <memory>
#include <string>
#include <utility>

#include "gateway/authenticator.h"
#include "gateway/camera_routes.h"
#include "gateway/document_routes.h"
#include "gateway/event_hub.h"
#include "gateway/event_routes.h"
#include "gateway/gateway_metrics.h"
#include "gateway/health_routes.h"
#include "gateway/http_server.h"
#include "gateway/live_count.h"
#include "gateway/live_pictures.h"
#include "gateway/live_routes.h"
#include "gateway/login_routes.h"
#include "gateway/model_routes.h"
#include "gateway/openapi_routes.h"
#include "gateway/page_routes.h"
#include "gateway/probe_routes.h"
#include "gateway/record_routes.h"
#include "gateway/stats_routes.h"
#include "gateway/stream_routes.h"
#include "services/common/clock.h"
#include "tests/unit/gateway/fake_backends.h"
#include "tests/unit/gateway/http_client.h"

namespace camherd::gateway {

// The whole gateway on a port of its own, in front of fake services.
class RunningGateway {
 public:
  static HttpServer::Options DefaultOptions() {
    HttpServer::Options options;
    options.listen = {"127.0.0.1:0"};
    return options;
  }

  explicit RunningGateway(const HttpServer::Options& options = DefaultOptions(),
                          Routes more = {}, size_t max_listeners = 256,
                          const Authenticator::Options& auth = {})
      : clients_(fake_.ClientOptions()),
        metrics_(registry_),
        authenticator_(Authenticator::Create(auth, Clock::Real()).value()),
        hub_({.retry = absl::Milliseconds(20)}, clients_),
        listeners_(max_listeners, "listen to events",
                   [this](size_t count) { metrics_.SetEventListeners(count); }),
        pictures_({}, clients_),
        viewers_(64, "watch live pictures",
                 [this](size_t count) { metrics_.SetPictureViewers(count); }) {
    Routes routes = std::move(more);
    for (Routes part :
         {PageRoutes(""), LoginRoutes(*authenticator_),
          DocumentRoutes(clients_), StreamRoutes(clients_),
          ProbeRoutes(clients_), RecordRoutes(clients_), CameraRoutes(clients_),
          ModelRoutes(clients_), StatsRoutes(clients_), OpenApiRoutes(),
          EventRoutes(hub_, listeners_),
          LiveRoutes(clients_, pictures_, viewers_),
          HealthRoutes(
              clients_, [this] { return metrics_.Exposition(); }, stopping_)}) {
      for (Route& route : part) routes.push_back(std::move(route));
    }
    routes_ = routes;
    hub_.Start([this](const v1::WatchStreamsResponse* news) {
      pictures_.OnStream(news);
    });
    server_ =
        HttpServer::Start(options, std::move(routes), *authenticator_, metrics_)
            .value();
  }
  ~RunningGateway() {
    clients_.Cancel();
    hub_.Stop();
    pictures_.Stop();
    server_->Stop();
  }

  const std::string& address() const { return server_->addresses()[0]; }
  std::string Metrics() const { return metrics_.Exposition(); }
  FakeBackends& fake() { return fake_; }
  const Routes& routes() const { return routes_; }
  HttpServer& server() { return *server_; }
  BackendClients& clients() { return clients_; }
  std::atomic<bool>& stopping() { return stopping_; }
  EventHub& hub() { return hub_; }

 private:
  FakeBackends fake_;
  BackendClients clients_;
  prometheus::Registry registry_;
  GatewayMetrics metrics_;
  std::unique_ptr<Authenticator> authenticator_;
  EventHub hub_;
  LiveCount listeners_;
  LivePictures pictures_;
  LiveCount viewers_;
  std::atomic<bool> stopping_ = false;
  Routes routes_;
  std::unique_ptr<HttpServer> server_;
};

}  // namespace camherd::gateway
