// SPDX-License-Identifier: Apache-2.0
#include <cstdlib>
#include <string>
#include <vector>

#include "services/cli/command_line.h"
#include "services/cli/console.h"
#include "services/cli/interrupt.h"
#include "services/common/yaml_config.h"

int main(int argc, char** argv) {
  // gRPC writes what fails to standard error; we say it ourselves.
  setenv("GRPC_VERBOSITY", "NONE", /*overwrite=*/0);
  camherd::cli::CatchInterrupts();
  return camherd::cli::RunCommandLine(
      std::vector<std::string>(argv + 1, argv + argc),
      camherd::YamlConfig::ProcessEnvironment(),
      camherd::cli::Console::OfProcess());
}
