// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "camherd/v1/stream.pb.h"
#include "camherd/v1/worker.pb.h"

namespace camherd::capture {

// Says from the looks of a camera's pictures what condition it is in. A
// condition is told once `samples` pictures in a row have it, so that a lorry
// before the lens is not; that all is well is told of the first picture.
//
// The least of what it takes for ill comes from real pictures: of 175 by day
// and night the dimmest has a mean of 40, the plainest a contrast of 16 (an
// empty road of a surveillance camera 12), the most clipped a share of 0.52;
// their sharpness is 11 and more (from compressed video 1.6), blurred over 4
// pixels 1.7 and less.
//
// Not thread-safe.
class ConditionJudge {
 public:
  struct Options {
    // TOO_DARK below this mean of Y', 0..255.
    double dark_below = 16;
    // OVEREXPOSED where more than this share of the picture is clipped, 0..1.
    double clipped_above = 0.6;
    // COVERED, or of one colour, below this standard deviation of Y'.
    double contrast_below = 5;
    // BLURRED below this mean square of the second difference of neighbours,
    // where it is small beside the contrast too.
    double sharpness_below = 1.5;
    // FROZEN after so many pictures that are the same.
    int frozen_samples = 10;
    // Pictures in a row before a condition is told.
    int samples = 3;
  };

  explicit ConditionJudge(const Options& options) : options_(options) {}

  // True: it has changed.
  bool Observe(const v1::PictureLook& look);

  // UNSPECIFIED before the first picture.
  v1::CameraCondition condition() const { return condition_; }

 private:
  v1::CameraCondition Judge(const v1::PictureLook& look) const;

  const Options options_;
  v1::CameraCondition condition_ = v1::CAMERA_CONDITION_UNSPECIFIED;
  // What the last pictures have in common, and how many they are.
  v1::CameraCondition seen_ = v1::CAMERA_CONDITION_UNSPECIFIED;
  int seen_count_ = 0;
  uint64_t fingerprint_ = 0;
  int same_count_ = 0;
};

}  // namespace camherd::capture
