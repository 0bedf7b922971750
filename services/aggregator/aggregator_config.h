// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "services/common/yaml_config.h"

namespace camherd::aggregator {

// The section `aggregator` of camherd.yaml; keys, units and defaults are
// described there.
struct AggregatorConfig {
  std::string data_dir;
  std::string listen;
  std::string metrics_listen;
  bool reflection = true;
  absl::TimeZone timezone;
  bool predictions_file = true;
  bool per_frame_records = false;
  absl::Duration predictions_sync;
  absl::Duration predictions_retry;
  int64_t predictions_rotate_bytes = 0;
  std::string camera_csv;
  absl::Duration csv_poll;
  int64_t low_disk_bytes = 0;
  int64_t full_disk_bytes = 0;
  absl::Duration disk_poll;
  // Infinite: whatever its age.
  absl::Duration retention_age;
  int64_t retention_bytes = 0;
  absl::Duration retention_poll;
  size_t threads = 0;
  size_t max_queue = 0;
  size_t max_batch_bytes = 0;
  size_t max_inflight_bytes = 0;
  absl::Duration retry_delay;
  absl::Duration not_ready_delay;
  // Calls in flight at SIGTERM, and then predictions.json, may take so long.
  absl::Duration drain;
};

// kInvalidArgument naming key, value and line. `data_dir` is absolute.
absl::StatusOr<AggregatorConfig> LoadAggregatorConfig(
    ConfigSection& section, const std::string& data_dir);

}  // namespace camherd::aggregator
