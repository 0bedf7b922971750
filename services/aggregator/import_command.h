// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdio>
#include <map>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "services/common/grpc_security.h"
#include "services/common/service_main.h"

// `camherd-aggregator import FILE`: the records of a predictions.json into the
// store; through the service where one runs, else into the store itself.
namespace camherd::aggregator {

std::vector<ServiceOption> ImportOptions();

struct ImportPlace {
  std::string data_dir;
  // The service's address, where one has the data folder.
  std::string listen;
  absl::TimeZone timezone;
  // How the service is called, and where an import without it is written down.
  GrpcSecurity security = {};
  std::string audit_file = {};
};

// Reads the file, or standard input for "-". How far it is, what is wrong and
// at the end how many records go to `err`. `given` are the options' values by
// name. Returns the exit code: 0 all was taken, 1 it was not, 2 wrong usage, 3
// all was taken but what could not be used.
int RunImportCommand(const std::map<std::string, std::string>& given,
                     const ImportPlace& place, FILE* err);

}  // namespace camherd::aggregator
