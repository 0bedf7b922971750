// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "camherd/v1/detection.pb.h"

namespace camherd::capture {

// A stored JPEG with `detections` drawn into it, as frames in a colour for each
// class, and `width` pixels wide (0: as it is). What is written beside a frame
// is up to who shows it. Without both the bytes are answered as they are.
//
// kInvalidArgument: `width` makes a picture over 33 million pixels (8K).
// kDataLoss: it cannot be decoded.
//
// Thread-safe.
absl::StatusOr<std::string> DrawJpeg(
    absl::string_view jpeg, const std::vector<v1::Detection>& detections,
    int width);

}  // namespace camherd::capture
