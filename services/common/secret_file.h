// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>

#include "absl/status/statusor.h"

namespace camherd {

// What a file of secrets holds. kPermissionDenied where others than its owner
// and group can read it, or others than its owner can write to it;
// kFailedPrecondition where it is no file; kOutOfRange over `max_bytes`.
absl::StatusOr<std::string> ReadSecretFile(const std::string& path,
                                           size_t max_bytes);

}  // namespace camherd
