// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gateway/backend_clients.h"
#include "gateway/http_server.h"
#include "services/common/yaml_config.h"

namespace camherd::gateway {

// The section `gateway` of camherd.yaml; the keys are explained there.
struct GatewayConfig {
  HttpServer::Options http;
  BackendClients::Options backends;
  std::string metrics_listen;
  std::string static_dir;
  absl::Duration not_ready_delay;
  absl::Duration drain;
};

// kInvalidArgument: a bad value, or listening beyond loopback without saying
// that nobody has to authenticate (`auth: none`).
absl::StatusOr<GatewayConfig> LoadGatewayConfig(ConfigSection& section);

}  // namespace camherd::gateway
