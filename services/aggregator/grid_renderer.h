// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "camherd/v1/frame.pb.h"

namespace camherd::aggregator {

inline constexpr int kGridCells = 9;

// Sorts frames brightest first by mean luma; ties: the earlier frame first.
void SortBrightestFirst(std::vector<v1::Frame>& frames);

// Renders up to nine frames, in their order, row by row, as a 3x3 grid: a JPEG
// of 1920x1080 pixels with cells of 640x360, each picture scaled to fit and
// centred on black; cells without a frame are black. kInvalidArgument, naming
// the frame: it is no JPEG, or larger than 8K.
//
// Thread-safe.
absl::StatusOr<std::string> RenderGrid(const std::vector<v1::Frame>& frames);

}  // namespace camherd::aggregator
