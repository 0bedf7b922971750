// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace prometheus {
class Collectable;
class Counter;
class Histogram;
class Registry;
template <typename T>
class Family;
}  // namespace prometheus

namespace camherd::inference {

// The service's metrics, behind verbs. The label `model` is a folder name under
// models/; `outcome` and `result` are the closed sets below.
//
// Thread-safe.
class InferenceMetrics {
 public:
  // `registry` must outlive this object.
  explicit InferenceMetrics(prometheus::Registry& registry);

  // camherd_inference_batches_total{outcome}: "ok", "unavailable",
  // "resource_exhausted", "failed_precondition", "invalid", "conflict",
  // "cancelled", "error".
  void BatchAnswered(const absl::Status& status);
  // The series of the model begin at 0: a rate sees the first of each.
  void ModelKnown(const std::string& model);
  // camherd_inference_model_batches_total{model,result="ok|failed"} and
  // camherd_inference_model_seconds{model}.
  void ModelRan(const std::string& model, bool ok, absl::Duration time);
  // camherd_inference_queue_seconds{model}: of a batch, for its engine's turn.
  void Waited(const std::string& model, absl::Duration time);
  // camherd_inference_undecodable_frames_total
  void FramesUndecodable(int count);
  // camherd_inference_cache_hits_total
  void CacheHit();
  // camherd_inference_model_loads_total{model,result="ok|failed"}: the first
  // loads and those anew; one that is refused at once has failed too.
  void ModelLoaded(const std::string& model, bool ok);
  // camherd_inference_gpu_misses_total{model}: times a model was to be loaded
  // onto a GPU that could not be used.
  void GpuMissed(const std::string& model);
  // camherd_inference_environment_build_seconds{model,result}
  void EnvironmentBuilt(const std::string& model, bool ok, absl::Duration time);

  // What is asked for at each scrape.
  struct ModelSample {
    std::string model;
    // "absent", "creating", "installing", "loading", "ready", "failed".
    std::string state;
    int queue_depth = 0;
    int64_t worker_restarts = 0;
  };
  struct Sample {
    int batches_in_flight = 0;
    int64_t bytes_in_flight = 0;
    std::vector<ModelSample> models;
  };
  // For MetricsExporter::AddCollectable; `sample` must be callable as long as
  // it is held.
  static std::shared_ptr<prometheus::Collectable> MakeCollector(
      std::function<Sample()> sample);

 private:
  prometheus::Family<prometheus::Counter>& batches_;
  prometheus::Family<prometheus::Counter>& model_batches_;
  prometheus::Family<prometheus::Counter>& model_loads_;
  prometheus::Family<prometheus::Counter>& gpu_misses_;
  prometheus::Family<prometheus::Histogram>& model_seconds_;
  prometheus::Family<prometheus::Histogram>& queue_seconds_;
  prometheus::Family<prometheus::Histogram>& build_seconds_;
  prometheus::Counter& undecodable_;
  prometheus::Counter& cache_hits_;
  std::map<std::string, prometheus::Counter*> by_outcome_;

  absl::Mutex mu_;
  struct ModelHandles {
    prometheus::Counter* ok;
    prometheus::Counter* failed;
    prometheus::Histogram* seconds;
    prometheus::Histogram* queue_seconds;
  };
  const ModelHandles& Of(const std::string& model)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  std::map<std::string, ModelHandles> by_model_ ABSL_GUARDED_BY(mu_);
};

}  // namespace camherd::inference
