// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "camherd/v1/detection.pb.h"
#include "services/inference/model_manifest.h"

namespace camherd::inference {

// Where a picture lies in the network's input: scaled by one factor in both
// directions so that it just fits, the rest padded. The numbers are those of
// ultralytics' LetterBox, so that both ways see the same pixels.
struct Letterbox {
  // The network's input, and the part of it that the picture takes, pixels.
  int input_width = 0;
  int input_height = 0;
  int left = 0;
  int top = 0;
  int width = 0;
  int height = 0;
  // Picture pixels times `scale` are input pixels.
  double scale = 1;

  // From input pixels to those of the picture, in place.
  void ToPicture(camherd::v1::Box& box) const;
};

// REQUIRES: all sizes > 0.
Letterbox MakeLetterbox(int picture_width, int picture_height, int input_width,
                        int input_height, const InputSpec& input);

// The least input for pictures of that shape: `input`'s longer side, the other
// as short as the picture allows, both multiples of `stride`; 640x384 for
// 16:9 at 640.
struct InputSize {
  int width = 0;
  int height = 0;
  friend bool operator==(const InputSize&, const InputSize&) = default;
  friend auto operator<=>(const InputSize&, const InputSize&) = default;
};
InputSize MinimalInput(int picture_width, int picture_height,
                       const InputSpec& input, int stride);

}  // namespace camherd::inference
