// SPDX-License-Identifier: Apache-2.0
#include "services/cli/herd_config.h"

#include <unistd.h>

#include "services/cli/exit_code.h"
#include "services/common/config_section.h"

namespace camherd::cli {
namespace {

constexpr char kInstalledConfig[] = "/etc/camherd/camherd.yaml";

}  // namespace

std::string ConfigPath(const std::string& config) {
  if (!config.empty()) return config;
  return access(kInstalledConfig, F_OK) == 0 ? kInstalledConfig : "";
}

absl::StatusOr<HerdClient::Options> LoadHerdOptions(
    const HerdPlace& place, const YamlConfig::Environment& environment) {
  const absl::StatusOr<YamlConfig> config =
      YamlConfig::Load(ConfigPath(place.config), environment);
  if (!config.ok()) return WrongUsage(config.status().message());
  HerdClient::Options options;
  // Its other keys are for the gateway to check.
  ConfigSection gateway = config->Section("gateway");
  const auto address = [&gateway](const char* key, const std::string& given,
                                  const std::string& fallback) {
    const std::string configured = gateway.String(key, fallback);
    return given.empty() ? configured : given;
  };
  options.capture = address("capture", place.capture, options.capture);
  options.inference = address("inference", place.inference, options.inference);
  options.aggregator =
      address("aggregator", place.aggregator, options.aggregator);
  ConfigSection grpc = config->Section("grpc");
  const absl::StatusOr<GrpcSecurity> security = LoadGrpcSecurity(grpc);
  if (!security.ok()) return WrongUsage(security.status().message());
  options.security = *security;
  return options;
}

}  // namespace camherd::cli
