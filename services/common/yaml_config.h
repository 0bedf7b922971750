// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "services/common/config_section.h"

namespace camherd {

// Reads camherd.yaml, a section for each service.
//
//   CAMHERD_ASSIGN_OR_RETURN(YamlConfig config, YamlConfig::Load(path, env));
//   ConfigSection section = config.Section("capture");
//   options.interval = section.Seconds("interval_seconds", 3, 0.1, 86400);
//   CAMHERD_RETURN_IF_ERROR(section.Finish());
//
// `CAMHERD_<SECTION>_<KEY>` in the environment overrides a key (two levels;
// lists by comma). An environment variable of a known section with an unknown
// key is an error too. CAMHERD_DATA_DIR and CAMHERD_WEIGHTS_DIR are reserved
// names and no overrides.
//
// Not thread-safe.
class YamlConfig {
 public:
  using Environment = std::map<std::string, std::string>;

  // `path` empty: defaults and environment only. kInvalidArgument with path
  // and line: not YAML, not a map of maps, a key twice, a section that is not
  // one of Sections(). kNotFound: no such file.
  static absl::StatusOr<YamlConfig> Load(const std::string& path,
                                         const Environment& environment);

  // The process's environment.
  static Environment ProcessEnvironment();

  // "common", "grpc", "capture", "inference", "aggregator", "gateway".
  static const std::vector<std::string>& Sections();

  // REQUIRES: `name` is one of Sections().
  ConfigSection Section(absl::string_view name) const;

  // The environment it was loaded with.
  const Environment& environment() const { return environment_; }

 private:
  Environment environment_;
  std::map<std::string, std::map<std::string, ConfigSection::Value>> sections_;
};

}  // namespace camherd
