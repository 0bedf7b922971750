// SPDX-License-Identifier: Apache-2.0
#include "services/capture/luma_meter.h"

#include <algorithm>
#include <cmath>

namespace camherd::capture {
namespace {

constexpr int kDark = 24;
constexpr int kClipped = 250;
constexpr uint64_t kFnvPrime = 0x100000001b3;

}  // namespace

void LumaMeter::AddRow(const uint8_t* luma, int width) {
  for (int x = 1; x + 1 < width; x += kStep) {
    const int value = luma[x];
    const int curve = 2 * value - luma[x - 1] - luma[x + 1];
    ++count_;
    sum_ += value;
    squares_ += static_cast<int64_t>(value) * value;
    dark_ += value <= kDark ? 1 : 0;
    clipped_ += value >= kClipped ? 1 : 0;
    curvature_ += static_cast<int64_t>(curve) * curve;
    fingerprint_ = (fingerprint_ ^ luma[x]) * kFnvPrime;
  }
}

v1::PictureLook LumaMeter::Look() const {
  v1::PictureLook look;
  if (count_ == 0) return look;
  const auto count = static_cast<double>(count_);
  const double mean = static_cast<double>(sum_) / count;
  const double variance =
      std::max(0.0, static_cast<double>(squares_) / count - mean * mean);
  look.set_mean(mean);
  look.set_contrast(std::sqrt(variance));
  look.set_dark_share(static_cast<double>(dark_) / count);
  look.set_clipped_share(static_cast<double>(clipped_) / count);
  look.set_sharpness(static_cast<double>(curvature_) / count);
  look.set_fingerprint(fingerprint_);
  return look;
}

}  // namespace camherd::capture
