// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "absl/time/time.h"

namespace camherd {

// A UUID version 7 (RFC 9562 §5.7): 36 characters, sorts by `now`.
// Thread-safe.
std::string MakeUuid7(absl::Time now);

}  // namespace camherd
