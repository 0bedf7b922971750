// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "absl/status/status.h"
#include "services/cli/console.h"
#include "services/cli/herd_client.h"

namespace camherd::cli {

struct ApplyOptions {
  // "-": standard input, YAML.
  std::string file = {};
  bool dry_run = false;
  bool prune = false;
};

// Makes what there is what the file says, and says what that takes: + added or
// started, ~ changed, - stopped. Nothing is done where anything in the file is
// wrong: all of that is said, and it is WrongUsage. What fails on the way is
// said, and the rest is done.
absl::Status RunApply(const ApplyOptions& options, HerdClient& client,
                      Console& console);

// The file of what there is; "": on standard output.
absl::Status RunConfig(const std::string& file, HerdClient& client,
                       Console& console);

}  // namespace camherd::cli
