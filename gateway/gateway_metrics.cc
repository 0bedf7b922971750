// SPDX-License-Identifier: Apache-2.0
#include "gateway/gateway_metrics.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <map>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"

namespace camherd::gateway {
namespace {

const prometheus::Histogram::BucketBoundaries& Buckets() {
  static const auto& buckets = *new prometheus::Histogram::BucketBoundaries{
      0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,
      0.25,  0.5,    1,     2.5,  5,     10,   30};
  return buckets;
}

prometheus::Counter& Reloads(prometheus::Registry& registry,
                             const char* result) {
  return prometheus::BuildCounter()
      .Name("camherd_gateway_token_reloads_total")
      .Help("Times the changed file of tokens was read, by result")
      .Register(registry)
      .Add({{"result", result}});
}

}  // namespace

struct GatewayMetrics::Series {
  prometheus::Family<prometheus::Counter>& requests;
  prometheus::Family<prometheus::Histogram>& seconds;
  prometheus::Family<prometheus::Counter>& refused;
  prometheus::Gauge& connections;
  prometheus::Family<prometheus::Gauge>& live;
  prometheus::Family<prometheus::Gauge>& connected;
  prometheus::Counter& exceptions;
  prometheus::Counter& reloads_ok;
  prometheus::Counter& reloads_failed;

  absl::Mutex mu;
  std::map<std::tuple<std::string, std::string, int>, prometheus::Counter*>
      by_request ABSL_GUARDED_BY(mu);
  std::map<std::string, prometheus::Histogram*> by_route ABSL_GUARDED_BY(mu);
  std::map<std::string, prometheus::Counter*> by_reason ABSL_GUARDED_BY(mu);
};

GatewayMetrics::GatewayMetrics(prometheus::Registry& registry)
    : registry_(registry),
      series_(
          new Series{prometheus::BuildCounter()
                         .Name("camherd_gateway_requests_total")
                         .Help("Requests answered, by route, method and code")
                         .Register(registry),
                     prometheus::BuildHistogram()
                         .Name("camherd_gateway_request_seconds")
                         .Help("Time from a whole request to its answer")
                         .Register(registry),
                     prometheus::BuildCounter()
                         .Name("camherd_gateway_refused_total")
                         .Help("Requests and connections refused, by reason")
                         .Register(registry),
                     prometheus::BuildGauge()
                         .Name("camherd_gateway_connections")
                         .Help("Connections open")
                         .Register(registry)
                         .Add({}),
                     prometheus::BuildGauge()
                         .Name("camherd_gateway_live_answers")
                         .Help("Answers that go on while their readers stay")
                         .Register(registry),
                     prometheus::BuildGauge()
                         .Name("camherd_gateway_service_connected")
                         .Help("1: the service can be reached")
                         .Register(registry),
                     prometheus::BuildCounter()
                         .Name("camherd_gateway_handler_exceptions_total")
                         .Help("Exceptions that a handler let out")
                         .Register(registry)
                         .Add({}),
                     Reloads(registry, "ok"),
                     Reloads(registry, "failed"),
                     {},
                     {},
                     {},
                     {}}) {
  SetEventListeners(0);
  SetPictureViewers(0);
  for (const char* service : {"capture", "inference", "aggregator"}) {
    SetServiceConnected(service, false);
  }
}

GatewayMetrics::~GatewayMetrics() = default;

void GatewayMetrics::Answered(const std::string& route,
                              const std::string& method, HttpCode code,
                              absl::Duration took) {
  const std::string label = route.empty() ? "none" : route;
  const std::string verb = method.empty() ? "none" : method;
  prometheus::Counter* counter = nullptr;
  prometheus::Histogram* histogram = nullptr;
  {
    absl::MutexLock lock(&series_->mu);
    prometheus::Counter*& slot =
        series_->by_request[{label, verb, static_cast<int>(code)}];
    if (slot == nullptr) {
      slot = &series_->requests.Add(
          {{"route", label},
           {"method", verb},
           {"code", absl::StrCat(static_cast<int>(code))}});
    }
    counter = slot;
    if (took > absl::ZeroDuration()) {
      prometheus::Histogram*& time = series_->by_route[label];
      if (time == nullptr) {
        time = &series_->seconds.Add({{"route", label}}, Buckets());
      }
      histogram = time;
    }
  }
  counter->Increment();
  if (histogram != nullptr) histogram->Observe(absl::ToDoubleSeconds(took));
}

void GatewayMetrics::Refused(const char* reason) {
  prometheus::Counter* counter = nullptr;
  {
    absl::MutexLock lock(&series_->mu);
    prometheus::Counter*& slot = series_->by_reason[reason];
    if (slot == nullptr) slot = &series_->refused.Add({{"reason", reason}});
    counter = slot;
  }
  counter->Increment();
}

void GatewayMetrics::SetConnections(size_t count) {
  series_->connections.Set(static_cast<double>(count));
}

void GatewayMetrics::SetEventListeners(size_t count) {
  series_->live.Add({{"kind", "events"}}).Set(static_cast<double>(count));
}

void GatewayMetrics::SetPictureViewers(size_t count) {
  series_->live.Add({{"kind", "pictures"}}).Set(static_cast<double>(count));
}

void GatewayMetrics::SetServiceConnected(const char* service, bool connected) {
  series_->connected.Add({{"service", service}}).Set(connected ? 1 : 0);
}

void GatewayMetrics::TokensReloaded(bool ok) {
  (ok ? series_->reloads_ok : series_->reloads_failed).Increment();
}

void GatewayMetrics::HandlerThrew() { series_->exceptions.Increment(); }

void GatewayMetrics::CertificateRead(bool ok, absl::Time not_after) {
  auto& reads = prometheus::BuildCounter()
                    .Name("camherd_gateway_certificate_reads_total")
                    .Help("Times the certificate's files were read")
                    .Register(registry_);
  prometheus::Counter& good = reads.Add({{"result", "ok"}});
  prometheus::Counter& bad = reads.Add({{"result", "failed"}});
  (ok ? good : bad).Increment();
  prometheus::BuildGauge()
      .Name("camherd_gateway_certificate_expiry_timestamp_seconds")
      .Help("When the certificate in use ends, Unix time")
      .Register(registry_)
      .Add({})
      .Set(absl::ToDoubleSeconds(not_after - absl::UnixEpoch()));
}

std::string GatewayMetrics::Exposition() const {
  return prometheus::TextSerializer().Serialize(registry_.Collect());
}

}  // namespace camherd::gateway
