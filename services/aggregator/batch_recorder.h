// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "services/aggregator/aggregator_metrics.h"
#include "services/aggregator/batch_assembler.h"
#include "services/aggregator/camera_directory.h"
#include "services/aggregator/disk_watch.h"
#include "services/aggregator/predictions_file.h"
#include "services/aggregator/record_store.h"
#include "services/common/clock.h"

namespace camherd::aggregator {

// Makes a record of a batch: enriches it with the camera's place, stores it,
// tells predictions.json.
//
// Thread-safe.
class BatchRecorder {
 public:
  using Done = std::function<void(absl::StatusOr<AppendResult>)>;

  struct Options {
    // Keep the pictures of all frames with a detection, for records of one
    // frame; else only those of the first frame and of the evidence.
    bool keep_detected = false;
    // For refused senders.
    absl::Duration retry_delay = absl::Seconds(5);
  };

  // All must outlive the recorder; `predictions` null: switched off.
  BatchRecorder(const Options& options, RecordStore& store,
                CameraDirectory& cameras, DiskWatch& disk,
                PredictionsFile* predictions, Clock& clock,
                AggregatorMetrics& metrics);

  // `wake` is called after each record that is new, from a thread of the store.
  // Before the first Record.
  void OnRecorded(std::function<void()> wake) { recorded_ = std::move(wake); }

  // Blocks for the writing of the pictures. `done` is called once, as
  // RecordStore::Append does; kResourceExhausted and kUnavailable carry a retry
  // delay.
  void Record(CompleteBatch batch, Done done);

  // Stores a record that comes from a file, under Record's terms.
  void Import(NewRecord record, Done done);

  // Counts a batch that was refused before it was complete.
  void Refused(const absl::Status& status);

 private:
  const Options options_;
  RecordStore& store_;
  CameraDirectory& cameras_;
  DiskWatch& disk_;
  PredictionsFile* const predictions_;
  Clock& clock_;
  AggregatorMetrics& metrics_;
  std::function<void()> recorded_ = [] {};
};

}  // namespace camherd::aggregator
