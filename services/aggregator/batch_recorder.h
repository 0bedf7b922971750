// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>

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

  // All must outlive the recorder; `predictions` null: switched off.
  BatchRecorder(RecordStore& store, CameraDirectory& cameras, DiskWatch& disk,
                PredictionsFile* predictions, Clock& clock,
                AggregatorMetrics& metrics, absl::Duration retry_delay);

  // Blocks for the writing of the pictures. `done` is called once, as
  // RecordStore::Append does; kResourceExhausted and kUnavailable carry a retry
  // delay.
  void Record(CompleteBatch batch, Done done);

  // Counts a batch that was refused before it was complete.
  void Refused(const absl::Status& status);

 private:
  RecordStore& store_;
  CameraDirectory& cameras_;
  DiskWatch& disk_;
  PredictionsFile* const predictions_;
  Clock& clock_;
  AggregatorMetrics& metrics_;
  const absl::Duration retry_delay_;
};

}  // namespace camherd::aggregator
