// SPDX-License-Identifier: Apache-2.0
#include "services/aggregator/batch_recorder.h"

#include <cstddef>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "services/aggregator/prediction_record.h"
#include "services/common/log.h"
#include "services/common/retry_delay.h"
#include "services/common/trace_scope.h"

namespace camherd::aggregator {

namespace {

bool IsEvidence(const v1::Record& record, int32_t frame_index) {
  for (const v1::Evidence& evidence : record.evidence()) {
    if (evidence.frame_index() == frame_index) return true;
  }
  return false;
}

}  // namespace

BatchRecorder::BatchRecorder(const Options& options, RecordStore& store,
                             CameraDirectory& cameras, DiskWatch& disk,
                             PredictionsFile* predictions, Clock& clock,
                             AggregatorMetrics& metrics)
    : options_(options),
      store_(store),
      cameras_(cameras),
      disk_(disk),
      predictions_(predictions),
      clock_(clock),
      metrics_(metrics) {}

void BatchRecorder::Refused(const absl::Status& status) {
  metrics_.BatchRefused(status.code());
}

void BatchRecorder::Import(NewRecord record, Done done) {
  if (absl::Status room = disk_.CheckRoom(); !room.ok()) {
    return done(std::move(room));
  }
  store_.Append(std::move(record),
                [this, done = std::move(done)](
                    const absl::StatusOr<AppendResult>& result) {
                  if (result.ok() && !result->already_recorded) {
                    metrics_.RecordImported();
                    // It writes no line, but its cursor goes on.
                    if (predictions_ != nullptr) predictions_->Wake();
                    recorded_();
                  }
                  done(result);
                });
}

void BatchRecorder::Record(CompleteBatch batch, Done done) {
  if (absl::Status room = disk_.CheckRoom(); !room.ok()) {
    Refused(room);
    return done(std::move(room));
  }
  const absl::Duration start = clock_.SteadyNow();
  // As its sender named it, else by the batch's own name.
  const v1::BatchManifest& manifest = batch.header.manifest();
  const TraceContext trace =
      TraceContext::Parse(batch.header.traceparent())
          .value_or(TraceContext::OfBatch(manifest.session_id(),
                                          manifest.batch_seq()));
  NewRecord record;
  record.record =
      BuildRecord(batch.header,
                  cameras_.FindForRecord(batch.header.manifest().camera_id()));
  record.manifest_sha256 = batch.header.manifest_sha256();
  for (Picture& picture : batch.pictures) {
    if (options_.keep_detected || picture.frame_index == 0 ||
        IsEvidence(record.record, picture.frame_index)) {
      record.pictures.push_back(std::move(picture));
    }
  }
  size_t bytes = 0;
  for (const Picture& picture : record.pictures) bytes += picture.jpeg.size();

  store_.Append(std::move(record), [this, start, bytes, trace,
                                    done = std::move(done)](
                                       const absl::StatusOr<AppendResult>&
                                           result) {
    const TraceScope scope(trace);
    if (!result.ok()) {
      absl::Status status = result.status();
      Refused(status);
      if (absl::IsAlreadyExists(status)) {
        LogError("batch conflicts with the one recorded", {{"error", status}});
      } else {
        LogWarning("batch not recorded", {{"error", status}});
      }
      // A damaged store is not the batch's fault, as DATA_LOSS would say.
      if (absl::IsDataLoss(status)) {
        status = absl::UnavailableError(status.message());
      }
      if (absl::IsResourceExhausted(status) || absl::IsUnavailable(status)) {
        status = WithRetryDelay(status, options_.retry_delay);
      }
      return done(status);
    }
    if (result->already_recorded) {
      metrics_.BatchRepeated();
    } else {
      metrics_.BatchRecorded(bytes, clock_.SteadyNow() - start);
      LogDebug("batch recorded", {{"record", result->record_id}});
      if (predictions_ != nullptr) predictions_->Wake();
      recorded_();
    }
    done(result);
  });
}

}  // namespace camherd::aggregator
