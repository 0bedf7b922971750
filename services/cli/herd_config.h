// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "services/cli/herd_client.h"
#include "services/common/yaml_config.h"

namespace camherd::cli {

// Where the services are, as the command line says; empty: as the
// configuration does.
struct HerdPlace {
  std::string config = {};
  std::string capture = {};
  std::string inference = {};
  std::string aggregator = {};
};

// The configuration that is read: `config`, else /etc/camherd/camherd.yaml
// where there is one, else none ("").
std::string ConfigPath(const std::string& config);

// The addresses at which the gateway finds the services (gateway.capture,
// gateway.inference, gateway.aggregator), and the section `grpc`, with what the
// environment overrides. WrongUsage: a configuration that cannot be read or
// used.
absl::StatusOr<HerdClient::Options> LoadHerdOptions(
    const HerdPlace& place, const YamlConfig::Environment& environment);

}  // namespace camherd::cli
