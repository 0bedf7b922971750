// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gateway/authenticator.h"
#include "gateway/backend_clients.h"
#include "gateway/http_server.h"
#include "services/common/yaml_config.h"

namespace camherd::gateway {

// The section `gateway` of camherd.yaml; the keys are explained there.
struct GatewayConfig {
  HttpServer::Options http;
  Authenticator::Options auth;
  BackendClients::Options backends;
  std::string metrics_listen;
  std::string static_dir;
  size_t max_event_listeners = 0;
  size_t max_live_viewers = 0;
  std::string map_tile_url;
  std::string map_attribution;
  absl::Duration not_ready_delay;
  absl::Duration drain;
};

// kInvalidArgument: a bad value, or listening beyond loopback without tokens
// and without saying that nobody has to authenticate (`auth: none`). The file
// of tokens is not looked at.
absl::StatusOr<GatewayConfig> LoadGatewayConfig(ConfigSection& section);

}  // namespace camherd::gateway
