// SPDX-License-Identifier: Apache-2.0
#include "services/aggregator/aggregator_metrics.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <map>
#include <string>
#include <utility>

namespace camherd::aggregator {
namespace {

using prometheus::Counter;
using prometheus::Gauge;
using prometheus::Histogram;

const Histogram::BucketBoundaries kSeconds = {
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5};

Counter& MakeCounter(prometheus::Registry& registry, const std::string& name,
                     const std::string& help,
                     const std::map<std::string, std::string>& labels = {}) {
  return prometheus::BuildCounter()
      .Name(name)
      .Help(help)
      .Register(registry)
      .Add(labels);
}

Gauge& MakeGauge(prometheus::Registry& registry, const std::string& name,
                 const std::string& help,
                 const std::map<std::string, std::string>& labels = {}) {
  return prometheus::BuildGauge().Name(name).Help(help).Register(registry).Add(
      labels);
}

Histogram& MakeHistogram(prometheus::Registry& registry,
                         const std::string& name, const std::string& help,
                         const Histogram::BucketBoundaries& buckets) {
  return prometheus::BuildHistogram()
      .Name(name)
      .Help(help)
      .Register(registry)
      .Add({}, buckets);
}

}  // namespace

struct AggregatorMetrics::Handles {
  explicit Handles(std::shared_ptr<prometheus::Registry> r)
      : registry(std::move(r)) {}

  Counter& Refused(const std::string& code) {
    return MakeCounter(*registry, "camherd_aggregator_batches_refused_total",
                       "Batches not recorded, by the code answered.",
                       {{"code", code}});
  }

  Gauge& Used(const std::string& kind) {
    return MakeGauge(*registry, "camherd_aggregator_used_bytes",
                     "Bytes on disk, by what they are for.", {{"kind", kind}});
  }

  // Of one kind, for one reason.
  struct Removal {
    Removal(prometheus::Registry& registry, const std::string& kind,
            const std::string& reason)
        : items(MakeCounter(registry, "camherd_aggregator_removed_total",
                            "Records, prediction files and grids removed.",
                            {{"kind", kind}, {"reason", reason}})),
          bytes(MakeCounter(registry, "camherd_aggregator_removed_bytes_total",
                            "Bytes of the files removed.",
                            {{"kind", kind}, {"reason", reason}})) {}
    Counter& items;
    Counter& bytes;
  };

  // Shared with the exporter that serves it.
  std::shared_ptr<prometheus::Registry> registry;
  Counter& records = MakeCounter(*registry, "camherd_aggregator_records_total",
                                 "Batches that became a record.");
  Counter& repeated =
      MakeCounter(*registry, "camherd_aggregator_batches_repeated_total",
                  "Batches that came again after they were recorded.");
  Counter& imported =
      MakeCounter(*registry, "camherd_aggregator_records_imported_total",
                  "Records added by ImportRecords.");
  Counter& invalid = Refused("invalid_argument");
  Counter& data_loss = Refused("data_loss");
  Counter& conflict = Refused("already_exists");
  Counter& exhausted = Refused("resource_exhausted");
  Counter& unavailable = Refused("unavailable");
  Counter& other = Refused("other");
  Counter& picture_bytes =
      MakeCounter(*registry, "camherd_aggregator_picture_bytes_total",
                  "Bytes of pictures stored with records.");
  Histogram& append_seconds = MakeHistogram(
      *registry, "camherd_aggregator_append_seconds",
      "Time from a batch's last message to its commit.", kSeconds);
  Histogram& group_records = MakeHistogram(
      *registry, "camherd_aggregator_commit_group_records",
      "Records that shared one commit.", {1, 2, 4, 8, 16, 32, 64, 128});
  Counter& lines =
      MakeCounter(*registry, "camherd_aggregator_prediction_lines_total",
                  "Lines written to predictions.json.");
  Counter& line_bytes =
      MakeCounter(*registry, "camherd_aggregator_prediction_bytes_total",
                  "Bytes written to predictions.json.");
  Counter& line_failures = MakeCounter(
      *registry, "camherd_aggregator_prediction_write_failures_total",
      "Failed tries to write predictions.json.");
  Gauge& lines_behind =
      MakeGauge(*registry, "camherd_aggregator_predictions_behind_records",
                "Records committed that predictions.json does not hold yet.");
  Histogram& grid_seconds =
      MakeHistogram(*registry, "camherd_aggregator_grid_seconds",
                    "Time to render one grid.", kSeconds);
  Gauge& cameras =
      MakeGauge(*registry, "camherd_aggregator_cameras", "Cameras known.");
  Gauge& csv_errors = MakeGauge(
      *registry, "camherd_aggregator_camera_csv_bad_rows",
      "Rows of the camera CSV that could not be used at the last import.");
  Counter& unknown_camera =
      MakeCounter(*registry, "camherd_aggregator_unknown_camera_total",
                  "Records of cameras whose place is not known.");
  Gauge& disk_free = MakeGauge(*registry, "camherd_aggregator_disk_free_bytes",
                               "Free bytes where the data folder lies.");
  Gauge& used_pictures = Used("pictures");
  Gauge& used_database = Used("database");
  Gauge& used_predictions = Used("predictions");
  Gauge& used_grids = Used("grids");
  Gauge& oldest_record =
      MakeGauge(*registry, "camherd_aggregator_oldest_record_timestamp_seconds",
                "Capture of the oldest record; 0: there is none.");
  // By RemovedKind and RemovalReason.
  Removal removals[3][2] = {
      {{*registry, "record", "age"}, {*registry, "record", "bytes"}},
      {{*registry, "predictions", "age"}, {*registry, "predictions", "bytes"}},
      {{*registry, "grid", "age"}, {*registry, "grid", "bytes"}}};
};

AggregatorMetrics::AggregatorMetrics(
    std::shared_ptr<prometheus::Registry> registry)
    : handles_(std::make_unique<Handles>(std::move(registry))) {}

AggregatorMetrics::~AggregatorMetrics() = default;

void AggregatorMetrics::BatchRecorded(size_t bytes, absl::Duration took) {
  handles_->records.Increment();
  handles_->picture_bytes.Increment(static_cast<double>(bytes));
  handles_->append_seconds.Observe(absl::ToDoubleSeconds(took));
}

void AggregatorMetrics::RecordImported() { handles_->imported.Increment(); }

void AggregatorMetrics::BatchRepeated() { handles_->repeated.Increment(); }

void AggregatorMetrics::BatchRefused(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kInvalidArgument:
      return handles_->invalid.Increment();
    case absl::StatusCode::kDataLoss:
      return handles_->data_loss.Increment();
    case absl::StatusCode::kAlreadyExists:
      return handles_->conflict.Increment();
    case absl::StatusCode::kResourceExhausted:
      return handles_->exhausted.Increment();
    case absl::StatusCode::kUnavailable:
      return handles_->unavailable.Increment();
    default:
      return handles_->other.Increment();
  }
}

void AggregatorMetrics::GroupCommitted(size_t records) {
  handles_->group_records.Observe(static_cast<double>(records));
}

void AggregatorMetrics::LinesWritten(int64_t lines, int64_t bytes) {
  handles_->lines.Increment(static_cast<double>(lines));
  handles_->line_bytes.Increment(static_cast<double>(bytes));
}

void AggregatorMetrics::LineWriteFailed() {
  handles_->line_failures.Increment();
}

void AggregatorMetrics::SetLinesBehind(int64_t records) {
  handles_->lines_behind.Set(static_cast<double>(records));
}

void AggregatorMetrics::GridRendered(absl::Duration took) {
  handles_->grid_seconds.Observe(absl::ToDoubleSeconds(took));
}

void AggregatorMetrics::SetCameras(size_t cameras) {
  handles_->cameras.Set(static_cast<double>(cameras));
}

void AggregatorMetrics::SetCsvRowErrors(size_t rows) {
  handles_->csv_errors.Set(static_cast<double>(rows));
}

void AggregatorMetrics::UnknownCamera() {
  handles_->unknown_camera.Increment();
}

void AggregatorMetrics::SetDiskFree(int64_t bytes) {
  handles_->disk_free.Set(static_cast<double>(bytes));
}

void AggregatorMetrics::SetUsed(const Used& used, absl::Time oldest_record) {
  handles_->used_pictures.Set(static_cast<double>(used.pictures));
  handles_->used_database.Set(static_cast<double>(used.database));
  handles_->used_predictions.Set(static_cast<double>(used.predictions));
  handles_->used_grids.Set(static_cast<double>(used.grids));
  handles_->oldest_record.Set(
      oldest_record == absl::InfiniteFuture()
          ? 0
          : absl::ToDoubleSeconds(oldest_record - absl::UnixEpoch()));
}

void AggregatorMetrics::Removed(RemovedKind kind, RemovalReason reason,
                                int64_t count, int64_t bytes) {
  Handles::Removal& removal =
      handles_
          ->removals[static_cast<size_t>(kind)][static_cast<size_t>(reason)];
  removal.items.Increment(static_cast<double>(count));
  removal.bytes.Increment(static_cast<double>(bytes));
}

}  // namespace camherd::aggregator
