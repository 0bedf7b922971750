// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "absl/status/status.h"
#include "camherd/v1/worker.pb.h"

namespace camherd::capture {

// A worker decodes what cameras send, so what it says is only believed as far
// as it is possible: numbers are in the ranges of worker.proto, and nothing is
// said that only ProcessWorkers says, such as that a stream is lost.
// kDataLoss, naming field and value: it is to be ended. Thread-safe.
absl::Status CheckWorkerEvent(const v1::FromWorker& event);

}  // namespace camherd::capture
