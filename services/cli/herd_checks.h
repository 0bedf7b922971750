// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "services/cli/herd_file.h"

namespace camherd::cli {

// What the services would refuse of an entry, said before anything is changed:
// adds "cameras.yaml:14: latitude must be in [-90, 90], got 91" for each.
// Latitude without longitude, a second camera of an id, and models that there
// are not, are seen by others.
void CheckHerdEntry(const HerdEntry& entry, std::vector<std::string>* errors);

}  // namespace camherd::cli
