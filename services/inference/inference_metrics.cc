// SPDX-License-Identifier: Apache-2.0
#include "services/inference/inference_metrics.h"

#include <prometheus/client_metric.h>
#include <prometheus/collectable.h>
#include <prometheus/counter.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <utility>

namespace camherd::inference {
namespace {

using prometheus::BuildCounter;
using prometheus::BuildHistogram;
using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;

const prometheus::Histogram::BucketBoundaries kBatchBuckets = {
    0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120};
const prometheus::Histogram::BucketBoundaries kQueueBuckets = {
    0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120};
const prometheus::Histogram::BucketBoundaries kBuildBuckets = {
    1, 5, 10, 20, 40, 60, 120, 300, 600, 1800, 3600};

const char* OutcomeOf(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return "ok";
    case absl::StatusCode::kUnavailable:
      return "unavailable";
    case absl::StatusCode::kResourceExhausted:
      return "resource_exhausted";
    case absl::StatusCode::kFailedPrecondition:
      return "failed_precondition";
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kDataLoss:
      return "invalid";
    case absl::StatusCode::kAlreadyExists:
      return "conflict";
    case absl::StatusCode::kCancelled:
      return "cancelled";
    default:
      return "error";
  }
}

class Collector : public prometheus::Collectable {
 public:
  explicit Collector(std::function<InferenceMetrics::Sample()> sample)
      : sample_(std::move(sample)) {}

  std::vector<MetricFamily> Collect() const override {
    const InferenceMetrics::Sample sample = sample_();
    std::vector<MetricFamily> families;
    Add(families, "camherd_inference_batches_in_flight",
        "Batches admitted and not answered yet", MetricType::Gauge,
        {{{}, static_cast<double>(sample.batches_in_flight)}});
    Add(families, "camherd_inference_in_flight_bytes",
        "Bytes of pictures of those batches", MetricType::Gauge,
        {{{}, static_cast<double>(sample.bytes_in_flight)}});
    std::vector<Value> states;
    std::vector<Value> depths;
    std::vector<Value> restarts;
    for (const auto& model : sample.models) {
      for (const char* state :
           {"absent", "creating", "installing", "loading", "ready", "failed"}) {
        states.push_back({{{"model", model.model}, {"state", state}},
                          model.state == state ? 1.0 : 0.0});
      }
      depths.push_back(
          {{{"model", model.model}}, static_cast<double>(model.queue_depth)});
      restarts.push_back({{{"model", model.model}},
                          static_cast<double>(model.worker_restarts)});
    }
    Add(families, "camherd_inference_model_state",
        "1 for the state a model is in", MetricType::Gauge, states);
    Add(families, "camherd_inference_queue_depth",
        "Batches that wait for their turn", MetricType::Gauge, depths);
    Add(families, "camherd_inference_worker_restarts_total",
        "Worker processes started anew", MetricType::Counter, restarts);
    return families;
  }

 private:
  struct Value {
    std::vector<std::pair<std::string, std::string>> labels;
    double value;
  };

  static void Add(std::vector<MetricFamily>& families, const char* name,
                  const char* help, MetricType type,
                  const std::vector<Value>& values) {
    MetricFamily family;
    family.name = name;
    family.help = help;
    family.type = type;
    for (const Value& value : values) {
      ClientMetric metric;
      for (const auto& [label, text] : value.labels) {
        metric.label.push_back({label, text});
      }
      if (type == MetricType::Counter) {
        metric.counter.value = value.value;
      } else {
        metric.gauge.value = value.value;
      }
      family.metric.push_back(std::move(metric));
    }
    families.push_back(std::move(family));
  }

  const std::function<InferenceMetrics::Sample()> sample_;
};

}  // namespace

InferenceMetrics::InferenceMetrics(prometheus::Registry& registry)
    : batches_(BuildCounter()
                   .Name("camherd_inference_batches_total")
                   .Help("Batches answered, by outcome")
                   .Register(registry)),
      model_batches_(BuildCounter()
                         .Name("camherd_inference_model_batches_total")
                         .Help("Batches a model was run on")
                         .Register(registry)),
      model_loads_(BuildCounter()
                       .Name("camherd_inference_model_loads_total")
                       .Help("Times a model was loaded, or could not be")
                       .Register(registry)),
      gpu_misses_(BuildCounter()
                      .Name("camherd_inference_gpu_misses_total")
                      .Help("Times a model was to be loaded onto a GPU that "
                            "could not be used")
                      .Register(registry)),
      model_seconds_(BuildHistogram()
                         .Name("camherd_inference_model_seconds")
                         .Help("Time of a model on a batch, waiting included")
                         .Register(registry)),
      queue_seconds_(BuildHistogram()
                         .Name("camherd_inference_queue_seconds")
                         .Help("Time that a batch waited for its engine's turn")
                         .Register(registry)),
      build_seconds_(BuildHistogram()
                         .Name("camherd_inference_environment_build_seconds")
                         .Help("Time of building an environment")
                         .Register(registry)),
      undecodable_(BuildCounter()
                       .Name("camherd_inference_undecodable_frames_total")
                       .Help("Frames that could not be decoded")
                       .Register(registry)
                       .Add({})),
      cache_hits_(BuildCounter()
                      .Name("camherd_inference_cache_hits_total")
                      .Help("Retried batches that were not inferred again")
                      .Register(registry)
                      .Add({})) {
  for (const char* outcome :
       {"ok", "unavailable", "resource_exhausted", "failed_precondition",
        "invalid", "conflict", "cancelled", "error"}) {
    by_outcome_[outcome] = &batches_.Add({{"outcome", outcome}});
  }
}

void InferenceMetrics::BatchAnswered(const absl::Status& status) {
  by_outcome_.at(OutcomeOf(status))->Increment();
}

const InferenceMetrics::ModelHandles& InferenceMetrics::Of(
    const std::string& model) {
  auto found = by_model_.find(model);
  if (found == by_model_.end()) {
    found =
        by_model_
            .emplace(
                model,
                ModelHandles{
                    &model_batches_.Add({{"model", model}, {"result", "ok"}}),
                    &model_batches_.Add(
                        {{"model", model}, {"result", "failed"}}),
                    &model_seconds_.Add({{"model", model}}, kBatchBuckets),
                    &queue_seconds_.Add({{"model", model}}, kQueueBuckets)})
            .first;
  }
  return found->second;
}

void InferenceMetrics::ModelKnown(const std::string& model) {
  absl::MutexLock lock(&mu_);
  Of(model);
  for (const char* result : {"ok", "failed"}) {
    model_loads_.Add({{"model", model}, {"result", result}});
  }
  gpu_misses_.Add({{"model", model}});
}

void InferenceMetrics::ModelRan(const std::string& model, bool ok,
                                absl::Duration time) {
  absl::MutexLock lock(&mu_);
  const ModelHandles& handles = Of(model);
  (ok ? handles.ok : handles.failed)->Increment();
  handles.seconds->Observe(absl::ToDoubleSeconds(time));
}

void InferenceMetrics::Waited(const std::string& model, absl::Duration time) {
  absl::MutexLock lock(&mu_);
  Of(model).queue_seconds->Observe(absl::ToDoubleSeconds(time));
}

void InferenceMetrics::FramesUndecodable(int count) {
  undecodable_.Increment(count);
}

void InferenceMetrics::CacheHit() { cache_hits_.Increment(); }

void InferenceMetrics::ModelLoaded(const std::string& model, bool ok) {
  model_loads_.Add({{"model", model}, {"result", ok ? "ok" : "failed"}})
      .Increment();
}

void InferenceMetrics::GpuMissed(const std::string& model) {
  gpu_misses_.Add({{"model", model}}).Increment();
}

void InferenceMetrics::EnvironmentBuilt(const std::string& model, bool ok,
                                        absl::Duration time) {
  build_seconds_
      .Add({{"model", model}, {"result", ok ? "ok" : "failed"}}, kBuildBuckets)
      .Observe(absl::ToDoubleSeconds(time));
}

std::shared_ptr<prometheus::Collectable> InferenceMetrics::MakeCollector(
    std::function<Sample()> sample) {
  return std::make_shared<Collector>(std::move(sample));
}

}  // namespace camherd::inference
