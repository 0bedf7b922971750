// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "camherd/v1/model.pb.h"
#include "services/common/clock.h"
#include "services/common/stop_signal.h"
#include "services/inference/engine.h"
#include "services/inference/latency_window.h"
#include "services/inference/model_manifest.h"
#include "services/inference/prepare_progress.h"
#include "services/inference/weights_fetcher.h"

namespace camherd::inference {

class InferenceMetrics;

// What an engine is made from.
struct EngineRequest {
  const ModelManifest& manifest;
  // One of the manifest's.
  std::string engine;
  // Absolute; empty where the engine needs none.
  std::string weights_path;
  // The environment is to be built again.
  bool rebuild = false;
};

// Makes a ready engine; blocks for seconds to minutes on a preparing thread.
// kUnimplemented: that engine is not built into this binary.
using EngineFactory = std::function<absl::StatusOr<std::unique_ptr<Engine>>(
    const EngineRequest&, const PrepareProgressFn&, const StopSignal&)>;

// The models under models/, their states, and one engine for each that is
// ready.
//
// A model is prepared by Prepare, or by a batch that needs it: first its
// weights, then the first of its engines that can be made. All who ask share
// one preparation, which goes on when they leave. No model waits for another's
// preparation; only environments are built one at a time. A model that FAILED
// is tried again when somebody asks by Prepare, or needs it once `failed_retry`
// has passed.
//
// A READY model is loaded anew, its manifest and weights read again, when
// Prepare asks for a rebuild. Until that has succeeded what is loaded serves
// on, and it goes on serving if it fails: the model stays READY, and the reason
// says what failed. Batches that run when the engines are changed end on the
// old one.
//
// Thread-safe. Stop ends preparations and engines; the destructor stops.
class ModelRegistry {
 public:
  struct Options {
    // Absolute folder of the model folders.
    std::string models_dir = {};
    // $CAMHERD_WEIGHTS_DIR; may be empty.
    std::string weights_dir = {};
    // Where fetched weights are kept, absolute.
    std::string cache_dir = {};
    bool fetch_weights = true;
    // Take quantized weights where there are any.
    bool int8 = false;
    WeightsFetcher::Options fetcher = {};
    absl::Duration failed_retry = absl::Seconds(300);
  };

  // What a batch needs to know of a model.
  struct Use {
    camherd::v1::ModelState state = camherd::v1::MODEL_STATE_ABSENT;
    // shared_ptr since an engine may be replaced while a batch runs on it;
    // null unless READY.
    std::shared_ptr<Engine> engine;
    std::shared_ptr<const ModelManifest> manifest;
    std::string weights_sha256;
    // Why it is FAILED, or why it was before the preparation that runs now.
    std::string failure;
    // kNotFound for a model that is not there.
    absl::Status status;
  };

  // Called, on any thread and without locks held, after a model changed. The
  // callee reads the new state by Get.
  using WatchFn = std::function<void()>;

  // Reads the manifests; one that is wrong makes its model FAILED, not the
  // start. `metrics` may be null.
  ModelRegistry(const Options& options, EngineFactory factory, Clock& clock,
                InferenceMetrics* metrics);
  ~ModelRegistry();

  std::vector<camherd::v1::Model> List();
  absl::StatusOr<camherd::v1::Model> Get(const std::string& name);

  // Begins the preparation where it is neither ready (or that shall be done
  // again: `rebuild`) nor under way, and answers the state at once. kNotFound:
  // no such model; kFailedPrecondition: it cannot become ready as things are
  // (weights missing, manifest wrong).
  absl::StatusOr<camherd::v1::Model> Prepare(const std::string& name,
                                             bool rebuild);

  // What to run `name` with; begins its preparation where that is needed.
  Use Acquire(const std::string& name);

  // The engine that Acquire gave said kFailedPrecondition: the model is
  // FAILED and the engine is dropped.
  void ReportBroken(const std::string& name, const Engine* engine,
                    const absl::Status& status);
  // Counts a batch.
  void CountBatch(const std::string& name, bool ok);
  // How long a picture took.
  void AddLatency(const std::string& name, absl::Duration a_picture);

  // Stops the engine and gives its memory back to the system; the environment
  // stays. Batches that wait for the engine end with kUnavailable. kNotFound;
  // kFailedPrecondition while it is being prepared. Blocks until the engine has
  // ended.
  absl::StatusOr<camherd::v1::Model> Unload(const std::string& name);

  int64_t Watch(const std::string& name, WatchFn fn);
  void Unwatch(int64_t id);

  // Batches that wait for their turn, and worker restarts, by model.
  struct EngineSample {
    std::string model;
    camherd::v1::ModelState state;
    int queue_depth;
    int64_t worker_restarts;
  };
  std::vector<EngineSample> Samples();

  void Stop();

 private:
  using Manifest = std::shared_ptr<const ModelManifest>;

  struct Entry {
    // Of the engine, or as it was last read; null: it is wrong.
    Manifest manifest;
    camherd::v1::Model model;
    std::shared_ptr<Engine> engine;
    LatencyWindow latencies;
    // What is being prepared, READY or not; null: nothing.
    Manifest preparing;
    bool rebuild = false;
    std::string failure;
    absl::Duration failed_at = absl::ZeroDuration();
    // Restarts of engines that are gone.
    int64_t past_restarts = 0;
  };
  // Empty where the engine needs none.
  struct Weights {
    std::string path;
    std::string sha256;
    std::string licence;
  };
  struct Loaded {
    std::shared_ptr<Engine> engine;
    Weights weights;
  };

  void ReadFolder();
  absl::StatusOr<Manifest> ReadManifest(const std::string& name) const;
  void Describe(Entry& entry, Manifest manifest)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status CheckQuickly(const ModelManifest& manifest) const;
  void Enqueue(const std::string& name, Entry& entry, Manifest manifest,
               bool rebuild) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void RunPreparing();
  absl::StatusOr<Loaded> Load(const std::string& name,
                              const ModelManifest& manifest, bool rebuild);
  absl::StatusOr<Weights> ProvideWeights(const std::string& name,
                                         const ModelManifest& manifest,
                                         const std::string& engine);
  // `loaded` serves from now on. Returns what did so far.
  std::shared_ptr<Engine> Serve(Entry& entry, Loaded loaded)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Takes the engine out of `entry`.
  std::shared_ptr<Engine> TakeEngine(Entry& entry)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Report(const std::string& name, const PrepareProgress& progress);
  void SetState(Entry& entry, camherd::v1::ModelState state,
                const std::string& reason) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // FAILED, or READY with the reason where something else still serves.
  void Fail(Entry& entry, const absl::Status& status)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  camherd::v1::Model Snapshot(const Entry& entry) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Calls the watchers of `name`.
  void Notify(const std::string& name) ABSL_LOCKS_EXCLUDED(mu_);

  const Options options_;
  const EngineFactory factory_;
  Clock& clock_;
  InferenceMetrics* const metrics_;
  const WeightsFetcher fetcher_;
  StopSignal stop_;

  absl::Mutex mu_;
  std::map<std::string, Entry> entries_ ABSL_GUARDED_BY(mu_);
  std::deque<std::string> queue_ ABSL_GUARDED_BY(mu_);
  // Engines that were replaced and may still run batches.
  std::vector<std::weak_ptr<Engine>> replaced_ ABSL_GUARDED_BY(mu_);
  // As many as models were ever prepared at once, and how many of them wait
  // for work.
  std::vector<std::thread> threads_ ABSL_GUARDED_BY(mu_);
  size_t idle_threads_ ABSL_GUARDED_BY(mu_) = 0;
  bool stopped_ ABSL_GUARDED_BY(mu_) = false;
  int64_t next_watch_ ABSL_GUARDED_BY(mu_) = 1;
  // shared_ptr: a call may still run when its watch is taken away.
  std::map<int64_t, std::pair<std::string, std::shared_ptr<WatchFn>>> watches_
      ABSL_GUARDED_BY(mu_);
};

}  // namespace camherd::inference
