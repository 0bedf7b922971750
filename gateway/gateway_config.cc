// SPDX-License-Identifier: Apache-2.0
#include "gateway/gateway_config.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "gateway/listen_socket.h"
#include "services/common/status_macros.h"

namespace camherd::gateway {
namespace {

// The host ends up in a Content-Security-Policy, so it is a plain one.
bool IsTileUrl(absl::string_view url) {
  absl::string_view rest = url;
  if (!absl::ConsumePrefix(&rest, "https://") &&
      !absl::ConsumePrefix(&rest, "http://")) {
    return false;
  }
  const absl::string_view host = rest.substr(0, rest.find('/'));
  return !host.empty() && host.size() < rest.size() &&
         host.find_first_not_of(
             "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
             ".-:") == absl::string_view::npos &&
         absl::StrContains(rest, "{z}") && absl::StrContains(rest, "{x}") &&
         absl::StrContains(rest, "{y}");
}

}  // namespace

absl::StatusOr<GatewayConfig> LoadGatewayConfig(ConfigSection& section) {
  GatewayConfig config;
  HttpServer::Options& http = config.http;
  http.listen = section.List("listen", http.listen);
  config.metrics_listen = section.String("metrics_listen", "127.0.0.1:50064");
  const std::string auth =
      section.Choice("auth", "unset", {"unset", "none", "tokens"});
  config.auth.required = auth == "tokens";
  config.auth.tokens_file = section.String("tokens_file", "");
  config.auth.tokens = section.List("tokens", {});
  config.auth.login_lifetime =
      section.Seconds("login_seconds", 43200, 1, 31536000);
  config.auth.secure_cookies = section.Bool("secure_cookies", false);
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
      section.Bytes("max_buffered_bytes", 32 << 20, 32 << 20, 64LL << 30));
  front.read_timeout = section.Seconds("read_timeout_seconds", 5, 0.1, 300);
  front.write_timeout = section.Seconds("write_timeout_seconds", 30, 0.1, 3600);
  front.keep_alive_timeout = section.Seconds("keep_alive_seconds", 30, 0, 3600);
  front.max_requests_per_connection = static_cast<size_t>(
      section.Int("max_requests_per_connection", 1000, 1, 1'000'000));
  front.rate.per_second =
      section.Double("max_requests_per_second", 0, 0, 1'000'000);
  front.rate.burst = section.Double("max_request_burst", 200, 1, 1'000'000);
  front.tls.certificate = section.String("tls_certificate", "");
  front.tls.key = section.String("tls_key", "");
  if (front.tls.certificate.empty() != front.tls.key.empty()) {
    section.Fail(front.tls.key.empty() ? "tls_key" : "tls_certificate",
                 "must be set as well: TLS needs a certificate and its key");
  }
  http.threads_per_lane =
      static_cast<size_t>(section.Int("threads_per_service", 8, 1, 256));
  http.queue_per_lane =
      static_cast<size_t>(section.Int("queue_per_service", 256, 1, 4096));
  http.queue_timeout = section.Seconds("queue_timeout_seconds", 10, 0.1, 300);
  http.access_log = section.Bool("access_log", true);

  config.max_event_listeners =
      static_cast<size_t>(section.Int("max_event_listeners", 256, 1, 100'000));
  config.max_live_viewers =
      static_cast<size_t>(section.Int("max_live_viewers", 64, 1, 100'000));

  config.static_dir = section.String("static_dir", "");
  config.map_tile_url = section.String("map_tile_url", "");
  config.map_attribution = section.String("map_attribution", "");
  if (!config.map_tile_url.empty() && !IsTileUrl(config.map_tile_url)) {
    section.Fail("map_tile_url",
                 absl::StrCat("must be https://host/... or http://host/... "
                              "with {z}, {x} and {y}, got ",
                              config.map_tile_url));
  }
  config.not_ready_delay = section.Seconds("not_ready_delay_seconds", 0, 0, 5);
  config.drain = section.Seconds("drain_seconds", 5, 0, 9);

  if (const auto tokens = TokenList::Parse(config.auth.tokens); !tokens.ok()) {
    section.Fail("tokens", tokens.status().message());
  }
  if (!config.auth.required &&
      !(config.auth.tokens_file.empty() && config.auth.tokens.empty())) {
    section.Fail("auth", "must be `tokens` where tokens are given");
  }
  if (config.auth.required && config.auth.tokens_file.empty() &&
      config.auth.tokens.empty()) {
    section.Fail("auth",
                 "is `tokens`, so tokens_file or tokens must name some");
  }
  if (http.listen.empty()) section.Fail("listen", "must not be empty");
  for (const std::string& address : http.listen) {
    const absl::StatusOr<std::string> host = ListenHost(address);
    if (!host.ok()) {
      section.Fail("listen", host.status().message());
    } else if (!IsLoopbackHost(*host) && auth == "unset") {
      section.Fail(
          "listen",
          absl::StrCat("must stay on loopback unless gateway.auth is set, got ",
                       address,
                       "; write `auth: tokens` and name them, or `auth: none` "
                       "to let everyone who reaches it start and stop "
                       "streams"));
    }
  }
  CAMHERD_RETURN_IF_ERROR(section.Finish());
  return config;
}

}  // namespace camherd::gateway
