// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace camherd::capture {

// Sum of `count` samples.
uint64_t SumOfSamples(const uint8_t* samples, int count);

// Mean of a plane of `width` x `height` samples, 0..255. What it means depends
// on the plane: a picture's brightness is the mean of its full-range Y', as it
// is stored in the JPEG. REQUIRES: width, height > 0.
double MeanOfPlane(const uint8_t* plane, int stride, int width, int height);

}  // namespace camherd::capture
