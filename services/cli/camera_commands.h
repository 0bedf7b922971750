// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "services/cli/console.h"
#include "services/cli/herd_client.h"

// cameras list, get, set and import.
namespace camherd::cli {

absl::Status ListCameras(HerdClient& client, Console& console);
absl::Status GetCamera(const std::string& camera_id, HerdClient& client,
                       Console& console);

struct SetCameraOptions {
  std::string camera_id = {};
  // What is left out stays as it is.
  std::optional<std::string> name = {};
  std::optional<double> latitude = {};
  std::optional<double> longitude = {};
  // A camera as JSON, which replaces it, as `cameras get --json` writes it;
  // "-": standard input.
  std::string file = {};
};
absl::Status SetCamera(const SetCameraOptions& options, HerdClient& client,
                       Console& console);

// A camera_data.csv; "-": standard input. An error where a row was not taken.
absl::Status ImportCameras(const std::string& file, HerdClient& client,
                           Console& console);

}  // namespace camherd::cli
