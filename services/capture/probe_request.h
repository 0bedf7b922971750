// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "absl/status/statusor.h"
#include "camherd/v1/capture_service.pb.h"
#include "services/capture/source_prober.h"

namespace camherd::capture {

// Checks as StartStream does, with the same words.
absl::StatusOr<ProbeTarget> CheckProbeRequest(
    const v1::ProbeSourceRequest& request);

}  // namespace camherd::capture
