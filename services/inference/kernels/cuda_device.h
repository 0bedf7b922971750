// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "services/inference/kernels/detection_device.h"

namespace camherd::inference {

// The GPU with that number, "cuda:0" the first. Its kernels, memory and stream
// are in cuda_device.cu. Throws std::runtime_error: no such GPU, or no driver.
std::unique_ptr<DetectionDevice> MakeCudaDevice(int ordinal);

}  // namespace camherd::inference
