// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "camherd/v1/inference_service.pb.h"
#include "services/common/worker_pool.h"
#include "services/inference/admission.h"
#include "services/inference/inference_metrics.h"
#include "services/inference/model_registry.h"
#include "services/inference/result_sink.h"
#include "services/inference/results_cache.h"
#include "services/inference/shared_bitmap.h"

namespace camherd::inference {

// The way of a batch through this service: admitted on its header, its frames
// checked against the manifest as they arrive, looked at by each of its
// models, and handed to the aggregator. Answers as DESIGN section 4 lists.
//
// One thread per admitted batch; Admission bounds their number and the bytes
// they hold, and refuses the rest with kResourceExhausted. The models of a
// batch run one after the other; a picture that several of them look at is
// decoded once (SharedBitmap), as long as that fits into max_bitmap_bytes. What
// does not count for the camera (DetectionFilter of the header) is gone before
// anyone sees it; a batch that comes again has the results of the first time. A
// batch that was admitted and whose frames have all come is worked on to its
// end, also when its sender has gone: the sender comes back with the same batch
// and finds it recorded or in the cache.
//
// What ends before the aggregator was asked, and the aggregator's own
// kResourceExhausted, carry the mark of a call without effect (retry_delay.h):
// the sender may still drop such a batch.
//
// Thread-safe. Stop before the registry and the sink go; the destructor stops.
class InferenceCore {
 public:
  struct Options {
    int max_batches_in_flight = 16;
    int64_t max_bytes_in_flight = int64_t{256} << 20;
    // Decoded pictures kept for the next model of their batch, of all batches.
    int64_t max_bitmap_bytes = int64_t{128} << 20;
    int64_t max_frame_bytes = int64_t{16} << 20;
    int64_t max_frame_pixels = 33177600;
    int max_detects_in_flight = 4;
    // Retry delays that travel with kResourceExhausted and kUnavailable, where
    // the aggregator names none.
    absl::Duration admission_retry = absl::Seconds(1);
    absl::Duration model_retry = absl::Seconds(5);
    absl::Duration aggregator_retry = absl::Seconds(2);
    // Longest wait for an engine's turn.
    absl::Duration queue_timeout = absl::Seconds(120);
    size_t cache_batches = 256;
    size_t cache_bytes = size_t{64} << 20;
  };

  // An admitted batch that collects its frames; owned by its call. Going away
  // gives back what admission granted.
  class Batch {
   public:
    ~Batch();
    // The next frame. kInvalidArgument: more than the manifest has;
    // kDataLoss: not the bytes the manifest names.
    absl::Status AddFrame(camherd::v1::Frame frame);

   private:
    friend class InferenceCore;
    Batch(InferenceCore& core, camherd::v1::InferBatchHeader header,
          int64_t bytes)
        : core_(core), header_(std::move(header)), bytes_(bytes) {}

    InferenceCore& core_;
    const camherd::v1::InferBatchHeader header_;
    const int64_t bytes_;
    std::vector<std::string> jpegs_;
  };

  using BatchDone =
      std::function<void(absl::StatusOr<camherd::v1::InferBatchResponse>)>;
  using DetectDone =
      std::function<void(absl::StatusOr<camherd::v1::DetectResponse>)>;
  // Set by the call when its client has gone.
  using Cancelled = std::shared_ptr<std::atomic<bool>>;

  // `metrics` may be null; registry and sink must outlive this.
  InferenceCore(const Options& options, ModelRegistry& registry,
                ResultSink& sink, InferenceMetrics* metrics);
  ~InferenceCore();

  // Decides on the header; never blocks. Statuses as for InferBatch.
  absl::StatusOr<std::unique_ptr<Batch>> Admit(
      camherd::v1::InferBatchHeader header);

  // Works on a batch whose frames have come, and calls `done` once, on another
  // thread.
  void Run(std::unique_ptr<Batch> batch, Cancelled cancelled, BatchDone done);

  // Looks at one picture; calls `done` once, maybe before it returns.
  void Detect(camherd::v1::DetectRequest request, DetectDone done);

  // Runs `task` on a thread that may block; false: too much is waiting.
  [[nodiscard]] bool RunBlocking(std::function<void()> task) {
    return ad_hoc_pool_.TryRun(std::move(task));
  }

  // For a watchdog: kUnavailable, where an engine does not come back from a
  // batch; comes back once nobody holds the state of core and models.
  absl::Status CheckAlive();

  int batches_in_flight();
  int64_t bytes_in_flight();

  // Admits nothing more; what runs goes on.
  void Drain();
  void Stop();

 private:
  absl::Status CheckHeader(const camherd::v1::InferBatchHeader& header,
                           int64_t* bytes) const;
  // OK where the models of the manifest can be run now, or need not be.
  absl::Status CheckModels(const camherd::v1::BatchManifest& manifest);
  // Notes that a batch is worked on, as long as it lives.
  class WorkNote;
  absl::StatusOr<camherd::v1::InferBatchResponse> Work(
      const Batch& batch, const std::atomic<bool>& cancelled);
  absl::StatusOr<ResultsCache::Results> Infer(const Batch& batch);
  // Lets the models of `uses` share what they decode of `pictures`.
  void ShareBitmaps(const std::vector<ModelRegistry::Use>& uses,
                    std::vector<Picture>& pictures,
                    std::deque<SharedBitmap>& bitmaps);
  absl::StatusOr<camherd::v1::ModelResult> InferModel(
      const std::string& name, const ModelRegistry::Use& use,
      const camherd::v1::DetectionFilter& filter,
      const std::vector<Picture>& pictures,
      const std::vector<int>& undecodable);
  absl::StatusOr<camherd::v1::DetectResponse> DetectNow(
      const camherd::v1::DetectRequest& request);

  const Options options_;
  ModelRegistry& registry_;
  ResultSink& sink_;
  InferenceMetrics* const metrics_;
  ResultsCache cache_;
  SharedBitmap::Budget bitmap_budget_;

  absl::Mutex mu_;
  bool draining_ ABSL_GUARDED_BY(mu_) = false;
  std::set<ResultsCache::Key> active_ ABSL_GUARDED_BY(mu_);
  Admission admission_ ABSL_GUARDED_BY(mu_);
  // Steady times since which batches are worked on.
  std::multiset<absl::Duration> working_since_ ABSL_GUARDED_BY(mu_);

  // Last: their threads use the rest.
  WorkerPool batch_pool_;
  WorkerPool ad_hoc_pool_;
};

}  // namespace camherd::inference
