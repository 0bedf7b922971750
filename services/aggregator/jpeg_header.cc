// SPDX-License-Identifier: Apache-2.0
#include "services/aggregator/jpeg_header.h"

#include <cstddef>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace camherd::aggregator {

absl::StatusOr<JpegSize> ReadJpegSize(absl::string_view jpeg,
                                      int64_t max_pixels) {
  const auto byte = [&](size_t i) -> int {
    return static_cast<unsigned char>(jpeg[i]);
  };
  const auto word = [&](size_t i) { return byte(i) << 8 | byte(i + 1); };
  if (jpeg.size() < 4 || byte(0) != 0xFF || byte(1) != 0xD8) {
    return absl::InvalidArgumentError("not a JPEG: no start of image");
  }
  size_t at = 2;
  while (at + 4 <= jpeg.size()) {
    if (byte(at) != 0xFF) break;
    const int marker = byte(at + 1);
    if (marker == 0xFF) {  // Fill byte.
      ++at;
      continue;
    }
    if (marker == 0xDA || marker == 0xD9) break;  // Scan or end.
    if (marker == 0x01 || (marker >= 0xD0 && marker <= 0xD7)) {
      at += 2;
      continue;
    }
    const auto length = static_cast<size_t>(word(at + 2));
    if (length < 2) break;
    const bool is_frame = marker >= 0xC0 && marker <= 0xCF && marker != 0xC4 &&
                          marker != 0xC8 && marker != 0xCC;
    if (is_frame) {
      if (length < 8 || at + 9 > jpeg.size()) break;
      const JpegSize size{.width = word(at + 7), .height = word(at + 5)};
      if (size.width == 0 || size.height == 0) {
        return absl::InvalidArgumentError(
            absl::StrCat("JPEG of ", size.width, "x", size.height, " pixels"));
      }
      if (int64_t{size.width} * size.height > max_pixels) {
        return absl::InvalidArgumentError(
            absl::StrCat("JPEG of ", size.width, "x", size.height,
                         " pixels is larger than the limit of ", max_pixels));
      }
      return size;
    }
    at += 2 + length;
  }
  return absl::InvalidArgumentError("not a JPEG: no frame header");
}

}  // namespace camherd::aggregator
