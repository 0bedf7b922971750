// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "services/common/backoff.h"
#include "services/common/steady_mutex.h"
#include "services/common/stop_signal.h"
#include "services/inference/engine.h"
#include "services/inference/venv_worker.h"

namespace camherd::inference {

// Runs a model's run_inference.py as long-lived workers in its virtual
// environment. A batch goes whole to one worker, first come first served; its
// pictures are decoded here before, at an eighth of their size, so that no
// worker sees a broken one.
//
// A worker that ends, hangs past `batch_timeout`, or sends what is no answer
// is killed with everything in its process group and started anew; the batch
// it was working on is tried once more, at once, and then given up (kAborted);
// before the next one the worker has its pause. A worker that answers "error"
// stays; only that batch is given up. When a worker
// cannot be started `max_start_failures` times in a row, the engine is broken
// (kFailedPrecondition).
//
// Each worker has a thread of its own here, which spawns it and lives as long
// (see ChildProcess). The queue of waiting batches holds as many as there are
// callers, which admission bounds. Thread-safe.
class VenvEngine : public Engine {
 public:
  struct Options {
    std::string model;
    // Interpreter of the environment and the script it runs, absolute.
    std::string python;
    std::string runner;
    // Absolute; empty: the model needs none.
    std::string weights;
    int input_width = 640;
    int input_height = 640;
    // Classes kept; the worker must know them all.
    std::vector<std::string> classes;
    // Folder for what libraries write (settings, caches); made.
    std::string cache_dir;
    int workers = 1;
    int threads_per_worker = 1;
    // Memory of a worker (RLIMIT_DATA), bytes; 0: no limit.
    int64_t memory_bytes = 0;
    absl::Duration start_timeout = absl::Seconds(300);
    absl::Duration batch_timeout = absl::Seconds(120);
    int max_start_failures = 3;
    Backoff::Options restart_backoff = {absl::Milliseconds(200),
                                        absl::Seconds(10)};
  };

  // Starts the workers and waits until all have loaded the model.
  // kFailedPrecondition: one could not; the message has its last lines.
  // kCancelled: `stop` was set meanwhile.
  static absl::StatusOr<std::unique_ptr<VenvEngine>> Create(
      const Options& options, const StopSignal& stop);
  ~VenvEngine() override;

  absl::StatusOr<InferResult> Infer(absl::Span<const Picture> pictures,
                                    const InferOptions& options) override;
  JpegSize DecodedSize(const Picture& /*picture*/) const override { return {}; }
  void Stop() override;
  std::string name() const override { return "venv"; }
  std::string device() const override;
  int queue_depth() const override;
  int64_t worker_restarts() const override { return restarts_; }

 private:
  // A batch; lives on its caller's stack.
  struct Job {
    absl::Span<const Picture> pictures;
    InferOptions options;
    bool taken = false;
    bool done = false;
    absl::StatusOr<InferResult> result;
  };

  explicit VenvEngine(const Options& options);

  // Infer for pictures that can be decoded.
  absl::StatusOr<InferResult> RunOnWorker(absl::Span<const Picture> pictures,
                                          const InferOptions& options);
  void RunSlot();
  // Waits before a worker is started anew; Stop ends it.
  void Pause(Backoff& backoff);
  // Spawns, configures, waits for hello.
  absl::StatusOr<std::unique_ptr<VenvWorker>> StartWorker();
  // Takes the next job, or null.
  Job* TakeJob() ABSL_LOCKS_EXCLUDED(mu_);
  // Runs it with `worker`, which is replaced, or null, where it failed.
  void RunJob(Job& job, std::unique_ptr<VenvWorker>& worker);
  absl::StatusOr<InferResult> Exchange(VenvWorker& worker, const Job& job,
                                       bool* worker_is_fine);
  void Finish(Job& job, absl::StatusOr<InferResult> result);
  // Fails all that wait.
  void FailQueue(const absl::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void SetBroken(const absl::Status& status);

  const Options options_;
  // A semaphore: one count per job queued.
  const int wake_fd_;
  StopSignal stop_;
  std::atomic<int64_t> restarts_{0};
  std::atomic<int64_t> next_id_{1};
  std::vector<std::thread> slots_;

  mutable SteadyMutex mu_;
  std::deque<Job*> queue_ ABSL_GUARDED_BY(mu_);
  int slots_ready_ ABSL_GUARDED_BY(mu_) = 0;
  bool stopped_ ABSL_GUARDED_BY(mu_) = false;
  // Not OK: no worker can be started.
  absl::Status broken_ ABSL_GUARDED_BY(mu_);
  std::string device_ ABSL_GUARDED_BY(mu_);
};

}  // namespace camherd::inference
