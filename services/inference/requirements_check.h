// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "absl/status/statusor.h"

namespace camherd::inference {

// Reads a requirements file and the files it includes, and refuses what may
// run code or fetch from elsewhere than the package index: version control
// and other URLs, editable installs, index options, absolute paths and paths
// that leave the folder, remote or absolute `-r` and `-c`, `${...}`. Hashes
// (`--hash`, `--require-hashes`) are fine.
//
// Returns the SHA-256 (hexadecimal) over the content of all files in order of
// reading. kInvalidArgument names file, line and what is wrong with it;
// kNotFound: a file is missing.
absl::StatusOr<std::string> CheckRequirements(const std::string& path);

}  // namespace camherd::inference
