// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace camherd::inference {

struct JpegSize {
  int width = 0;
  int height = 0;
};

// Reads a JPEG's header only. kInvalidArgument: no JPEG, or a broken header;
// kOutOfRange: more than `max_pixels`.
absl::StatusOr<JpegSize> ReadJpegHeader(absl::string_view jpeg,
                                        int64_t max_pixels);

// A decoded picture: [height, width, 3] uint8, B G R, rows without padding.
struct BgrPicture {
  int width = 0;
  int height = 0;
  std::vector<uint8_t> pixels;
};

// Decodes at full size. kInvalidArgument: the JPEG is broken or cut short.
absl::StatusOr<BgrPicture> DecodeJpeg(absl::string_view jpeg,
                                      int64_t max_pixels);

}  // namespace camherd::inference
