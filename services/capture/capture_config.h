// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "services/capture/process_workers.h"
#include "services/capture/source_probe.h"
#include "services/capture/stream_store.h"
#include "services/capture/stream_supervisor.h"
#include "services/common/yaml_config.h"

namespace camherd::capture {

// The capture section of camherd.yaml, where each key is described.
struct CaptureConfig {
  std::string listen;
  std::string metrics_listen;
  bool reflection = true;
  std::string inference;
  std::string aggregator;
  StreamStore::Options store;
  StreamSupervisor::Options supervisor;
  // Without program and arguments.
  ProcessWorkers::Options workers;
  SourceProbe::Options probe;
  // At once.
  int max_probes = 4;
  std::vector<std::string> allow_networks;
  // The gateway listens on loopback only, so cameras may be there as well.
  bool allow_loopback = true;
  absl::Duration not_ready_delay;
  // Calls in flight at SIGTERM may take so long.
  absl::Duration drain;
  bool per_camera_metrics = true;
  // For the start log, secrets masked.
  std::vector<std::string> effective;
};

// kInvalidArgument with key and line.
absl::StatusOr<CaptureConfig> LoadCaptureConfig(const YamlConfig& config,
                                                const std::string& data_dir);

}  // namespace camherd::capture
