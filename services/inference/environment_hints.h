// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "absl/strings/string_view.h"

namespace camherd::inference {

// What a person can do about an environment that could not be built, judged
// by the installer's last lines; empty where it is none of the known cases: no
// network, disk full, certificates, Python without pip or venv, no wheels for
// this Python, too little memory.
std::string HintForInstallLog(absl::string_view log);

}  // namespace camherd::inference
