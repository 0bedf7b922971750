// SPDX-License-Identifier: Apache-2.0
#include "services/inference/detector_spec.h"

#include "services/inference/shared_bitmap.h"

namespace camherd::inference {

InputSize DetectorSpec::SizeFor(int width, int height, bool dynamic) const {
  return dynamic && rectangular ? MinimalInput(width, height, input, kStride)
                                : InputSize{input.width, input.height};
}

JpegSize DetectorSpec::DecodedSize(const Picture& picture) const {
  if (!scaled_decoding) return {picture.width, picture.height};
  // The least rectangle holds a picture of the same size as the square does.
  const Letterbox letterbox = MakeLetterbox(picture.width, picture.height,
                                            input.width, input.height, input);
  return {letterbox.width, letterbox.height};
}

absl::StatusOr<std::shared_ptr<const Bitmap>> DetectorSpec::Decode(
    const Picture& picture, const Letterbox& letterbox) const {
  return SharedBitmap::Decode(
      picture, {.max_pixels = max_pixels,
                .rgb = input.color == "rgb",
                .cover_width = scaled_decoding ? letterbox.width : 0,
                .cover_height = scaled_decoding ? letterbox.height : 0});
}

}  // namespace camherd::inference
