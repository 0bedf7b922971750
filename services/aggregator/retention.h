// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "services/aggregator/aggregator_metrics.h"
#include "services/aggregator/record_store.h"
#include "services/aggregator/rotated_predictions.h"
#include "services/common/clock.h"
#include "services/common/steady_mutex.h"

namespace camherd::aggregator {

// Removes what is too old, and the oldest of what is too much: records with
// their pictures, rotated prediction files, grids. A record's time is its
// capture, a file's that of its newest record, a grid's its making. The live
// predictions.json is never removed, nor a record that it does not hold yet.
//
// Bytes are those of all it may remove, and of what grows with them: pictures,
// database with its log, predictions.json and the rotated files, grids; as the
// disk counts them. It begins a thirty-second (at most 256 MiB) below
// `max_bytes`, and removes another thirty-second, so that it need not begin
// anew with each record.
//
// One thread, in steps of a few records: while there is too much as fast as it
// can, else at most half the time. It looks at the bytes whenever records were
// committed, at most 50 times a second.
//
// Thread-safe; Start and Stop from one thread. The destructor stops.
class Retention {
 public:
  struct Options {
    // Where predictions.json lies, if it is written.
    std::string predictions_path = {};
    // predictions.json is written: records that it lacks are kept.
    bool keep_unwritten = true;
    absl::Duration max_age = absl::InfiniteDuration();
    // 0: as much as there is.
    int64_t max_bytes = 0;
    // Between looks at the ages.
    absl::Duration poll_interval = absl::Minutes(1);
    // For what is too old at a time: the bytes are looked at in between.
    absl::Duration max_age_run = absl::Seconds(2);
  };

  // All must outlive it.
  Retention(const Options& options, RecordStore& store, Clock& clock,
            AggregatorMetrics& metrics);
  ~Retention();

  void Start();
  // Ends within a step. May be called twice.
  void Stop();

  // Removes what is due, what is too old for `max_age_run`, and tells
  // the metrics what there is. True: more is too old. An error is the store's,
  // or that of a file which could not be removed.
  absl::StatusOr<bool> RunOnce();

 private:
  struct Run;

  void Loop();
  absl::Status RemoveOld(Run& run);
  absl::Status RemoveExcess(Run& run);
  absl::Status Shrink();
  absl::Status RemoveOldOf(Run& run, RemovedKind kind, RemovalStep step);
  absl::Status RemoveFile(Run& run, RemovalReason reason);
  absl::Status Measure(Run& run);
  absl::StatusOr<int64_t> LastRemovable();
  // False: Stop was called. Waits as long as the step that began at `start`
  // took, if it is to be `gentle`.
  bool GoOn(absl::Duration start, bool gentle);
  // False: Stop was called. Waits for so long, or until then.
  bool Wait(absl::Duration duration);

  const Options options_;
  RecordStore& store_;
  Clock& clock_;
  AggregatorMetrics& metrics_;

  SteadyMutex mu_;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;

  std::thread thread_;
};

}  // namespace camherd::aggregator
