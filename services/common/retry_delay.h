// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace camherd {

// Attaches to a status how long the caller should wait before the next try.
absl::Status WithRetryDelay(absl::Status status, absl::Duration delay);

// The delay attached, if any.
std::optional<absl::Duration> RetryDelay(const absl::Status& status);

// Marks a failed call as one that changed nothing: what it asked for was not
// done, and is not being done. Without the mark a caller does not know.
absl::Status WithoutEffect(absl::Status status);

bool HadNoEffect(const absl::Status& status);

}  // namespace camherd
