// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "absl/status/status.h"
#include "camherd/v1/model.pb.h"
#include "services/cli/console.h"
#include "services/cli/herd_client.h"

// models list, get, prepare and unload.
namespace camherd::cli {

absl::Status ListModels(HerdClient& client, Console& console);
absl::Status GetModel(const std::string& name, HerdClient& client,
                      Console& console);
absl::Status UnloadModel(const std::string& name, HerdClient& client,
                         Console& console);

struct PrepareOptions {
  std::string name = {};
  bool rebuild = false;
};
// Follows the preparation to its end; it goes on where this is interrupted.
absl::Status PrepareModel(const PrepareOptions& options, HerdClient& client,
                          Console& console);

// "[#####-----]  5 of 10  installing: torch"; without the bar where no total is
// known.
std::string ProgressLine(const v1::Model& model);

Colour ColourOf(v1::ModelState state);

}  // namespace camherd::cli
