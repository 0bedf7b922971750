// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <prometheus/registry.h>

#include <atomic>
#include <memory>
#include <string>
#include <utility>

#include "gateway/camera_routes.h"
#include "gateway/document_routes.h"
#include "gateway/gateway_metrics.h"
#include "gateway/health_routes.h"
#include "gateway/http_server.h"
#include "gateway/model_routes.h"
#include "gateway/page_routes.h"
#include "gateway/probe_routes.h"
#include "gateway/record_routes.h"
#include "gateway/stream_routes.h"
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
                          Routes more = {})
      : clients_(fake_.ClientOptions()), metrics_(registry_) {
    Routes routes = std::move(more);
    for (Routes part :
         {PageRoutes(""), DocumentRoutes(clients_), StreamRoutes(clients_),
          ProbeRoutes(clients_), RecordRoutes(clients_), CameraRoutes(clients_),
          ModelRoutes(clients_), HealthRoutes(clients_, metrics_, stopping_)}) {
      for (Route& route : part) routes.push_back(std::move(route));
    }
    server_ = HttpServer::Start(options, std::move(routes), metrics_).value();
  }
  ~RunningGateway() {
    clients_.Cancel();
    server_->Stop();
  }

  const std::string& address() const { return server_->addresses()[0]; }
  std::string Metrics() const { return metrics_.Exposition(); }
  FakeBackends& fake() { return fake_; }
  HttpServer& server() { return *server_; }
  BackendClients& clients() { return clients_; }
  std::atomic<bool>& stopping() { return stopping_; }

 private:
  FakeBackends fake_;
  BackendClients clients_;
  prometheus::Registry registry_;
  GatewayMetrics metrics_;
  std::atomic<bool> stopping_ = false;
  std::unique_ptr<HttpServer> server_;
};

}  // namespace camherd::gateway
