// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "services/common/steady_mutex.h"
#include "services/inference/kernels/detection_kernels.h"
#include "services/inference/letterbox.h"

namespace camherd::inference {

// Gathers pictures of all calls, and so of all cameras, into batches for a
// device that is faster with many at once. Pictures go in the order they came,
// those of one input size together; a batch waits for more until it has
// `max_batch` pictures, or its first is `max_delay` old.
//
// Thread-safe.
class BatchGatherer {
 public:
  // A picture, ready for the device, and what was found on it.
  struct Job {
    PlacedPicture picture;
    InputSize input;
    Thresholds thresholds;
    bool every_class = false;
    // Let go of as soon as the picture is not needed any more.
    std::shared_ptr<void> memory;

    // Set once it is done.
    std::vector<ScoredBox> boxes;
    absl::Status status;
    // From Submit until its batch began.
    absl::Duration waited;

   private:
    friend class BatchGatherer;
    absl::Duration submitted;
    enum class State { kNew, kQueued, kRunning, kDone } state = State::kNew;
  };
  // Runs one batch on the gatherer's thread: fills `boxes` of each, or answers
  // why not. Its jobs are of one input size, and of one kind of `every_class`.
  using RunFn = std::function<absl::Status(absl::Span<Job* const>)>;

  BatchGatherer(int max_batch, absl::Duration max_delay, RunFn run);
  ~BatchGatherer();

  // `job` must stay until it was finished.
  void Submit(Job& job);

  // Waits until all of them are done, and takes back those that no batch took
  // within `timeout`: kUnavailable. Else their first status that is not OK.
  absl::Status Finish(absl::Span<const std::unique_ptr<Job>> jobs,
                      absl::Duration timeout);

  int waiting() const;

  // Ends what waits with kUnavailable, after the batch that runs.
  void Stop();

 private:
  void RunBatches();
  bool IsWorth() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  std::vector<Job*> Take() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const int max_batch_;
  const absl::Duration max_delay_;
  const RunFn run_;

  mutable SteadyMutex mu_;
  std::deque<Job*> queue_ ABSL_GUARDED_BY(mu_);
  bool stopped_ ABSL_GUARDED_BY(mu_) = false;
  std::thread thread_;
};

}  // namespace camherd::inference
