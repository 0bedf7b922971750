// SPDX-License-Identifier: Apache-2.0
#include "services/capture/brightness_ranker.h"

#include <algorithm>

namespace camherd::capture {
namespace {

bool RanksBefore(const v1::FrameInfo& a, const v1::FrameInfo& b) {
  if (a.mean_luma() != b.mean_luma()) return a.mean_luma() > b.mean_luma();
  return a.frame_seq() < b.frame_seq();
}

}  // namespace

BrightnessRanker::Decision BrightnessRanker::Consider(
    const v1::FrameInfo& frame) const {
  if (frames_.size() < kKept) return {.enters = true, .displaced_seq = 0};
  if (!RanksBefore(frame, frames_.back())) return {};
  return {.enters = true, .displaced_seq = frames_.back().frame_seq()};
}

void BrightnessRanker::Accept(const v1::FrameInfo& frame) {
  if (!Consider(frame).enters) return;
  frames_.insert(
      std::upper_bound(frames_.begin(), frames_.end(), frame, RanksBefore),
      frame);
  if (frames_.size() > kKept) frames_.pop_back();
}

}  // namespace camherd::capture
