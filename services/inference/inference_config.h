// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "services/common/yaml_config.h"
#include "services/inference/engine_factory.h"
#include "services/inference/inference_core.h"
#include "services/inference/model_registry.h"

namespace camherd::inference {

// The section `inference` of camherd.yaml, which documents each key.
struct InferenceConfig {
  std::string listen;
  std::string metrics_listen;
  bool reflection = true;
  std::string aggregator;
  absl::Duration aggregator_timeout;
  absl::Duration receive_timeout;
  absl::Duration drain;
  absl::Duration not_ready_delay;
  // Models that are prepared at the start.
  std::vector<std::string> prepare;
  ModelRegistry::Options registry;
  EngineFactoryOptions engines;
  InferenceCore::Options core;
  // "key=value" of all keys, for the log.
  std::vector<std::string> effective;
};

// `data_dir` is absolute. kInvalidArgument names key, value and line.
absl::StatusOr<InferenceConfig> LoadInferenceConfig(
    const YamlConfig& config, const std::string& data_dir);

}  // namespace camherd::inference
