// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "services/cli/console.h"
#include "services/cli/exit_code.h"
#include "services/common/yaml_config.h"

namespace camherd::cli {

// Runs `camherd` with these arguments, its own name left out: what it says goes
// to the console's files. Returns what the process is to exit with.
int RunCommandLine(std::vector<std::string> arguments,
                   const YamlConfig::Environment& environment,
                   const Console::Options& files);

}  // namespace camherd::cli
