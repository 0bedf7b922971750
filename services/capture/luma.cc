// SPDX-License-Identifier: Apache-2.0
#include "services/capture/luma.h"

#include <algorithm>

namespace camherd::capture {

uint64_t SumOfSamples(const uint8_t* samples, int count) {
  uint64_t total = 0;
  // Sums of 256 bytes fit 16 bits, which lets the compiler keep eight of them
  // in a register.
  while (count > 0) {
    const int block = std::min(count, 256);
    uint16_t sum = 0;
    for (int i = 0; i < block; ++i) {
      sum = static_cast<uint16_t>(sum + samples[i]);
    }
    total += sum;
    samples += block;
    count -= block;
  }
  return total;
}

double MeanOfPlane(const uint8_t* plane, int stride, int width, int height) {
  uint64_t sum = 0;
  for (int y = 0; y < height; ++y) {
    sum += SumOfSamples(plane + static_cast<int64_t>(y) * stride, width);
  }
  return static_cast<double>(sum) /
         (static_cast<double>(width) * static_cast<double>(height));
}

}  // namespace camherd::capture
