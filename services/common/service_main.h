// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "services/common/grpc_security.h"
#include "services/common/shutdown_signal.h"
#include "services/common/yaml_config.h"

namespace camherd {

// What the four mains share.

// An option that one service has beside those of all.
struct ServiceOption {
  // Without dashes. Empty: the argument without an option, which is needed, and
  // which may stand before the options too.
  std::string name;
  // What its value is called in --help; empty: it takes none.
  std::string value = {};
  // For --help, in lines of 58 characters.
  std::string help = {};
  // With it the process does something for a person and ends: its start is not
  // logged, and signals keep their usual meaning.
  bool command = false;
};

// --health, for the health checks of containers: main asks the service that
// runs with this configuration how it fares, and returns 0 or 1.
ServiceOption HealthOption();

struct ServiceArgs {
  // True: the command line was answered (--help, --version) or was wrong;
  // main returns `exit_code`.
  bool done = false;
  int exit_code = 0;
  // --check-config: main loads its options, prints "configuration ok" and
  // returns 0, or the error and 2.
  bool check_config = false;
  // The service's own options that were given, by name.
  std::map<std::string, std::string> own;
  YamlConfig config;
  // Absolute data folder: --data-dir, else $CAMHERD_DATA_DIR, else
  // common.data_dir, else ./var. Not created yet.
  std::string data_dir;
  // The section `grpc`.
  GrpcSecurity grpc;
  // Absolute: common.audit_file, else audit.jsonl in the data folder.
  std::string audit_file;
};

// Parses --config, --data-dir, --check-config, --help, --version and `own`;
// loads the configuration; sets up the log with common.log_level and
// common.log_format. Blocks SIGTERM and SIGINT (see ShutdownSignal) before any
// thread starts and ignores SIGPIPE. `command`: as if an option with it were
// given.
ServiceArgs StartServiceMain(int argc, char** argv, absl::string_view service,
                             absl::string_view description,
                             const std::vector<ServiceOption>& own = {},
                             bool command = false);

// Has the allocator keep up to 16 MiB of freed memory an arena. With glibc's
// defaults the memory of each 250 KB message is given back, mapped and cleared
// again, page by page, at both ends: two thirds of the CPU of a batch. One
// arena a core: with eight, as by default, what each keeps adds up. Part of
// StartServiceMain; a function of its own for benches and tests.
void KeepFreedMemory();

}  // namespace camherd
