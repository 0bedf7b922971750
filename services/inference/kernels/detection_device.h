// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "services/inference/kernels/detection_kernels.h"

namespace camherd::inference {

// Where a network runs, and what stands before and behind it there. One batch
// after the other, from one thread at a time: Letterbox fills the input, the
// network runs from Input() to Output() on stream(), Decode reads the output.
// Only AllocateHost may be called from any thread.
//
// All of it throws std::runtime_error, with CUDA's words, when the device
// fails; it is then not to be used again.
class DetectionDevice {
 public:
  virtual ~DetectionDevice() = default;

  // "cpu", "cuda:0".
  virtual std::string name() const = 0;
  // The cudaStream_t that orders the work; null on the host.
  virtual void* stream() const = 0;

  // Memory of the host that the device reads fastest.
  virtual std::shared_ptr<uint8_t[]> AllocateHost(size_t bytes) = 0;

  // Memory of the device, at least so large; what it held is lost when it has
  // to grow.
  virtual float* Input(size_t floats) = 0;
  virtual float* Output(size_t floats) = 0;

  // Fills Input. The pictures' bytes must stay until Decode has returned.
  virtual void Letterbox(std::span<const PlacedPicture> pictures,
                         const InputLayout& layout) = 0;

  // The boxes of each picture of Output; waits for all work before it.
  virtual std::vector<std::vector<ScoredBox>> Decode(
      const OutputLayout& layout, std::span<const Thresholds> pictures) = 0;
};

}  // namespace camherd::inference
