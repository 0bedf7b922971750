// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdio>
#include <map>
#include <string>
#include <vector>

#include "services/aggregator/prediction_record.h"
#include "services/common/service_main.h"

// `camherd-aggregator export`: the records as a file, while the service runs
// or does not.
namespace camherd::aggregator {

std::vector<ServiceOption> ExportOptions();

// Writes the file to `out`; what is wrong, and at the end how many records, to
// `err`. `given` are the options' values by name. Returns the exit code: 0 all
// was written, 1 it was not, 2 wrong usage.
int RunExportCommand(const std::map<std::string, std::string>& given,
                     const std::string& data_dir, const LineOptions& line,
                     FILE* out, FILE* err);

}  // namespace camherd::aggregator
