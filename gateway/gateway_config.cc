// SPDX-License-Identifier: Apache-2.0
#include "gateway/gateway_config.h"

#include "absl/strings/str_cat.h"
#include "gateway/listen_socket.h"
#include "services/common/status_macros.h"

namespace camherd::gateway {

absl::StatusOr<GatewayConfig> LoadGatewayConfig(ConfigSection& section) {
  GatewayConfig config;
  HttpServer::Options& http = config.http;
  http.listen = section.List("listen", http.listen);
  config.metrics_listen = section.String("metrics_listen", "127.0.0.1:50064");
  const std::string auth = section.Choice("auth", "unset", {"unset", "none"});
  http.allowed_hosts = section.List("allowed_hosts", {});

  BackendClients::Options& backends = config.backends;
  backends.capture = section.String("capture", backends.capture);
  backends.inference = section.String("inference", backends.inference);
  backends.aggregator = section.String("aggregator", backends.aggregator);
  backends.timeout = section.Seconds("timeout_seconds", 5, 0.1, 300);
  backends.start_timeout =
      section.Seconds("start_timeout_seconds", 15, 0.1, 300);
  backends.stop_timeout = section.Seconds("stop_timeout_seconds", 10, 0.1, 300);
  backends.detect_timeout =
      section.Seconds("detect_timeout_seconds", 30, 0.1, 300);
  backends.probe_timeout =
      section.Seconds("probe_timeout_seconds", 60, 0.1, 300);
  backends.stream_timeout =
      section.Seconds("stream_timeout_seconds", 3600, 1, 86400);
  backends.health_timeout =
      section.Seconds("health_timeout_seconds", 1, 0.1, 60);

  ConnectionFront::Options& front = http.front;
  front.max_connections =
      static_cast<size_t>(section.Int("max_connections", 512, 8, 100'000));
  front.max_connections_per_address = static_cast<size_t>(
      section.Int("max_connections_per_address", 128, 4, 100'000));
  front.max_buffered_bytes = static_cast<size_t>(
      section.Bytes("max_buffered_bytes", 256 << 20, 32 << 20, 64LL << 30));
  front.read_timeout = section.Seconds("read_timeout_seconds", 5, 0.1, 300);
  front.write_timeout = section.Seconds("write_timeout_seconds", 30, 0.1, 3600);
  http.threads_per_lane =
      static_cast<size_t>(section.Int("threads_per_service", 8, 1, 256));
  http.queue_per_lane =
      static_cast<size_t>(section.Int("queue_per_service", 32, 1, 4096));
  http.access_log = section.Bool("access_log", true);

  config.static_dir = section.String("static_dir", "");
  config.not_ready_delay = section.Seconds("not_ready_delay_seconds", 0, 0, 5);
  config.drain = section.Seconds("drain_seconds", 5, 0, 9);

  if (http.listen.empty()) section.Fail("listen", "must not be empty");
  for (const std::string& address : http.listen) {
    const absl::StatusOr<std::string> host = ListenHost(address);
    if (!host.ok()) {
      section.Fail("listen", host.status().message());
    } else if (!IsLoopbackHost(*host) && auth != "none") {
      section.Fail(
          "listen",
          absl::StrCat("must stay on loopback unless gateway.auth is set, got ",
                       address,
                       "; write `auth: none` to let everyone who reaches it "
                       "start and stop streams"));
    }
  }
  CAMHERD_RETURN_IF_ERROR(section.Finish());
  return config;
}

}  // namespace camherd::gateway
