// SPDX-License-Identifier: Apache-2.0
#include "services/aggregator/batch_recorder.h"

#include <cstddef>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "services/aggregator/prediction_record.h"
#include "services/common/log.h"
#include "services/common/retry_delay.h"

namespace camherd::aggregator {

BatchRecorder::BatchRecorder(RecordStore& store, CameraDirectory& cameras,
                             DiskWatch& disk, PredictionsFile* predictions,
                             Clock& clock, AggregatorMetrics& metrics,
                             absl::Duration retry_delay)
    : store_(store),
      cameras_(cameras),
      disk_(disk),
      predictions_(predictions),
      clock_(clock),
      metrics_(metrics),
      retry_delay_(retry_delay) {}

void BatchRecorder::Refused(const absl::Status& status) {
  metrics_.BatchRefused(status.code());
}

void BatchRecorder::Record(CompleteBatch batch, Done done) {
  if (absl::Status room = disk_.CheckRoom(); !room.ok()) {
    Refused(room);
    return done(std::move(room));
  }
  const absl::Duration start = clock_.SteadyNow();
  NewRecord record;
  record.record =
      BuildRecord(batch.header,
                  cameras_.FindForRecord(batch.header.manifest().camera_id()));
  record.manifest_sha256 = batch.header.manifest_sha256();
  record.pictures = std::move(batch.pictures);
  size_t bytes = 0;
  for (const Picture& picture : record.pictures) bytes += picture.jpeg.size();

  store_.Append(std::move(record), [this, start, bytes, done = std::move(done)](
                                       const absl::StatusOr<AppendResult>&
                                           result) {
    if (!result.ok()) {
      absl::Status status = result.status();
      Refused(status);
      if (absl::IsAlreadyExists(status)) {
        LogError("batch conflicts with the one recorded", {{"error", status}});
      } else {
        LogWarning("batch not recorded", {{"error", status}});
      }
      if (absl::IsResourceExhausted(status) || absl::IsUnavailable(status)) {
        status = WithRetryDelay(status, retry_delay_);
      }
      return done(status);
    }
    if (result->already_recorded) {
      metrics_.BatchRepeated();
    } else {
      metrics_.BatchRecorded(bytes, clock_.SteadyNow() - start);
      if (predictions_ != nullptr) predictions_->Wake();
    }
    done(result);
  });
}

}  // namespace camherd::aggregator
