// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace camherd::aggregator {

struct JpegSize {
  int width = 0;
  int height = 0;
};

// Most pixels of a picture we decode: 8K.
inline constexpr int64_t kMaxPixels = 33177600;

// The size a JPEG says it has, read from its frame header (ITU T.81 B.2.2)
// without decoding. kInvalidArgument: no JPEG, a side of 0, or more pixels than
// `max_pixels`.
absl::StatusOr<JpegSize> ReadJpegSize(absl::string_view jpeg,
                                      int64_t max_pixels = kMaxPixels);

}  // namespace camherd::aggregator
