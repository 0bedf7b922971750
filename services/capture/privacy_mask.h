// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "camherd/v1/camera.pb.h"

namespace camherd::capture {

// Which pixels of pictures of one size a camera's privacy masks cover: every
// pixel of which a polygon has a part, never less. A polygon that is none
// (fewer than three corners, one outside of the picture or not a number) covers
// the whole picture: what cannot be understood is not shown.
//
// Immutable and thread-safe. It costs time to make, and next to none to use:
// make one per camera and size.
class PrivacyMask {
 public:
  // Columns [begin, end).
  struct Run {
    int32_t begin = 0;
    int32_t end = 0;
  };

  // REQUIRES: width, height > 0.
  PrivacyMask(absl::Span<const v1::Polygon> polygons, int width, int height);

  int width() const { return width_; }
  int height() const { return height_; }
  // Covered columns of a row, left to right, neither touching nor overlapping.
  absl::Span<const Run> Row(int row) const {
    const auto at = static_cast<size_t>(row);
    return absl::MakeConstSpan(runs_).subspan(first_[at],
                                              first_[at + 1] - first_[at]);
  }
  // Pixels that are not covered.
  int64_t visible() const { return visible_; }

 private:
  const int width_;
  const int height_;
  int64_t visible_ = 0;
  std::vector<Run> runs_;
  // By row: its first run; one more for the end.
  std::vector<size_t> first_;
};

}  // namespace camherd::capture
