// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>

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

// A decoded picture: [height, width, 3] uint8, rows without padding.
struct Bitmap {
  int width = 0;
  int height = 0;
  // Red first; else blue.
  bool rgb = false;
  std::unique_ptr<uint8_t[]> pixels;
};

struct JpegDecodeOptions {
  int64_t max_pixels = 33177600;
  // Red first; else blue, as OpenCV has it.
  bool rgb = false;
  // Where both are given, the picture is decoded at 1/8, 1/4 or 1/2 of its
  // size, the least that is still no smaller than this: the transform is done
  // at that size, which takes half the time (ITU-T T.81, the DCT's low
  // frequencies are the smaller picture).
  int cover_width = 0;
  int cover_height = 0;
};

// kInvalidArgument: the JPEG is broken or cut short.
absl::StatusOr<Bitmap> DecodeJpeg(absl::string_view jpeg,
                                  const JpegDecodeOptions& options);

}  // namespace camherd::inference
