// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "absl/time/time.h"
#include "gateway/http_message.h"

namespace prometheus {
class Registry;
}  // namespace prometheus

namespace camherd::gateway {

// What the gateway counts.
//
//   camherd_gateway_requests_total{route,method,code}  `route` is a template
//     of the table of routes, or "none"
//   camherd_gateway_request_seconds{route}             from the whole request
//     to its answer
//   camherd_gateway_refused_total{reason}
//   camherd_gateway_connections
//   camherd_gateway_live_answers{kind}                 "events", "pictures":
//     answers that go on for as long as their readers stay
//   camherd_gateway_service_connected{service}         1: it can be reached
//   camherd_gateway_handler_exceptions_total
//   camherd_gateway_certificate_reads_total{result}    "ok" or "failed"; only
//     with TLS, as the next one
//   camherd_gateway_certificate_expiry_timestamp_seconds
//   camherd_gateway_token_reloads_total{result}        "ok", "failed": the
//     changed file of tokens
//
// Thread-safe.
class GatewayMetrics {
 public:
  // `registry` must outlive the metrics.
  explicit GatewayMetrics(prometheus::Registry& registry);
  ~GatewayMetrics();

  // `took` of zero: answered by the front, not timed.
  void Answered(const std::string& route, const std::string& method,
                HttpCode code, absl::Duration took);
  void Refused(const char* reason);
  void SetConnections(size_t count);
  void SetEventListeners(size_t count);
  void SetPictureViewers(size_t count);
  // `service`: "capture", "inference", "aggregator".
  void SetServiceConnected(const char* service, bool connected);
  void HandlerThrew();
  // `ok`: the files hold a certificate and its key, which ends at `not_after`;
  // else that of the one which stays in use.
  void CertificateRead(bool ok, absl::Time not_after);
  void TokensReloaded(bool ok);

  // The registry in the Prometheus text format.
  std::string Exposition() const;

 private:
  struct Series;
  prometheus::Registry& registry_;
  std::unique_ptr<Series> series_;
};

}  // namespace camherd::gateway
