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

}  // namespace

struct GatewayMetrics::Series {
  prometheus::Family<prometheus::Counter>& requests;
  prometheus::Family<prometheus::Histogram>& seconds;
  prometheus::Family<prometheus::Counter>& refused;
  prometheus::Gauge& connections;
  prometheus::Counter& exceptions;

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
                     prometheus::BuildCounter()
                         .Name("camherd_gateway_handler_exceptions_total")
                         .Help("Exceptions that a handler let out")
                         .Register(registry)
                         .Add({}),
                     {},
                     {},
                     {},
                     {}}) {}

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

void GatewayMetrics::HandlerThrew() { series_->exceptions.Increment(); }

std::string GatewayMetrics::Exposition() const {
  return prometheus::TextSerializer().Serialize(registry_.Collect());
}

}  // namespace camherd::gateway
