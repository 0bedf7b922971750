// SPDX-License-Identifier: Apache-2.0
#include "services/aggregator/aggregator_config.h"

#include "absl/strings/str_cat.h"
#include "services/aggregator/data_layout.h"
#include "services/common/status_macros.h"

namespace camherd::aggregator {
namespace {

constexpr int64_t kMiB = int64_t{1} << 20;
constexpr int64_t kTiB = int64_t{1} << 40;

}  // namespace

absl::StatusOr<AggregatorConfig> LoadAggregatorConfig(
    ConfigSection& section, const std::string& data_dir) {
  AggregatorConfig config;
  config.data_dir = data_dir;
  config.listen = section.String("listen", "127.0.0.1:50053");
  config.metrics_listen = section.String("metrics_listen", "127.0.0.1:50063");
  config.reflection = section.Bool("reflection", true);
  const std::string timezone = section.String("timezone", "");
  config.timezone = absl::LocalTimeZone();
  if (!timezone.empty() && !absl::LoadTimeZone(timezone, &config.timezone)) {
    section.Fail("timezone",
                 absl::StrCat("must be a name of the tz database such as "
                              "Asia/Kolkata, got \"",
                              timezone, "\""));
  }
  config.predictions_file = section.Bool("predictions_file", true);
  config.per_frame_records = section.Bool("per_frame_records", false);
  config.predictions_sync =
      section.Seconds("predictions_sync_seconds", 1, 0.001, 3600);
  config.predictions_retry =
      section.Seconds("predictions_retry_seconds", 1, 0.001, 3600);
  config.predictions_rotate_bytes =
      section.Bytes("predictions_rotate_bytes", 0, 0, kTiB);
  config.camera_csv = section.String("camera_csv", "");
  if (config.camera_csv.empty()) config.camera_csv = DefaultCameraCsv(data_dir);
  config.csv_poll = section.Seconds("csv_poll_seconds", 5, 0.01, 86400);
  config.low_disk_bytes = section.Bytes("low_disk_bytes", 512 * kMiB, 0, kTiB);
  config.full_disk_bytes = section.Bytes("full_disk_bytes", 64 * kMiB, 0, kTiB);
  if (config.full_disk_bytes > config.low_disk_bytes) {
    section.Fail(
        "full_disk_bytes",
        absl::StrCat("must be at most low_disk_bytes, got ",
                     config.full_disk_bytes, " and ", config.low_disk_bytes));
  }
  config.disk_poll = section.Seconds("disk_poll_seconds", 5, 0.01, 3600);
  config.retention_age = section.Seconds("retention_seconds", 0, 0, 1e10);
  if (config.retention_age == absl::ZeroDuration()) {
    config.retention_age = absl::InfiniteDuration();
  }
  config.retention_bytes =
      section.Bytes("retention_bytes", 0, 0, 1024 * 1024 * kTiB);
  if (config.retention_bytes > 0 && config.retention_bytes < 64 * kMiB) {
    section.Fail("retention_bytes",
                 absl::StrCat("must be 0 or at least 64 MiB, got ",
                              config.retention_bytes));
  }
  // The live predictions.json counts, and is never removed.
  if (config.retention_bytes > 0 && config.predictions_file &&
      (config.predictions_rotate_bytes == 0 ||
       config.predictions_rotate_bytes > config.retention_bytes / 4)) {
    section.Fail(
        "retention_bytes",
        absl::StrCat("needs predictions_rotate_bytes of at most a quarter of "
                     "it, or predictions_file: false, got ",
                     config.retention_bytes, " and ",
                     config.predictions_rotate_bytes));
  }
  config.retention_poll =
      section.Seconds("retention_poll_seconds", 60, 0.01, 86400);
  config.threads = static_cast<size_t>(section.Int("threads", 4, 1, 256));
  config.max_queue =
      static_cast<size_t>(section.Int("max_queue", 256, 1, 100000));
  config.max_batch_bytes = static_cast<size_t>(
      section.Bytes("max_batch_bytes", 256 * kMiB, kMiB, 1024 * kMiB));
  config.max_inflight_bytes = static_cast<size_t>(
      section.Bytes("max_inflight_bytes", 256 * kMiB, kMiB, kTiB));
  config.retry_delay = section.Seconds("retry_delay_seconds", 5, 0.001, 3600);
  config.not_ready_delay = section.Seconds("not_ready_delay_seconds", 0, 0, 5);
  config.drain = section.Seconds("drain_seconds", 3, 0, 60);
  CAMHERD_RETURN_IF_ERROR(section.Finish());
  return config;
}

}  // namespace camherd::aggregator
