// SPDX-License-Identifier: Apache-2.0
#include "services/capture/condition_judge.h"

namespace camherd::capture {
namespace {

// Sharpness by variance: 0.0036 and more on real pictures, 0.0009 in the middle
// of blurred ones. A plain picture has little of both.
constexpr double kBlurredShare = 0.002;

}  // namespace

bool ConditionJudge::Observe(const v1::PictureLook& look) {
  const bool same = same_count_ > 0 && look.fingerprint() == fingerprint_;
  same_count_ = same ? same_count_ + 1 : 1;
  fingerprint_ = look.fingerprint();

  const v1::CameraCondition now = Judge(look);
  seen_count_ = now == seen_ ? seen_count_ + 1 : 1;
  seen_ = now;
  const bool first = condition_ == v1::CAMERA_CONDITION_UNSPECIFIED &&
                     now == v1::CAMERA_CONDITION_GOOD;
  // That pictures are the same has been seen often enough already.
  const bool sure = first || now == v1::CAMERA_CONDITION_FROZEN ||
                    seen_count_ >= options_.samples;
  if (!sure || now == condition_) return false;
  condition_ = now;
  return true;
}

v1::CameraCondition ConditionJudge::Judge(const v1::PictureLook& look) const {
  if (look.mean() < options_.dark_below) {
    return v1::CAMERA_CONDITION_TOO_DARK;
  }
  if (look.clipped_share() > options_.clipped_above) {
    return v1::CAMERA_CONDITION_OVEREXPOSED;
  }
  if (look.contrast() < options_.contrast_below) {
    return v1::CAMERA_CONDITION_COVERED;
  }
  if (same_count_ >= options_.frozen_samples) {
    return v1::CAMERA_CONDITION_FROZEN;
  }
  if (look.sharpness() < options_.sharpness_below &&
      look.sharpness() < kBlurredShare * look.contrast() * look.contrast()) {
    return v1::CAMERA_CONDITION_BLURRED;
  }
  return v1::CAMERA_CONDITION_GOOD;
}

}  // namespace camherd::capture
