// SPDX-License-Identifier: Apache-2.0
#include "services/inference/letterbox.h"

#include <algorithm>
#include <cmath>

namespace camherd::inference {
namespace {

double ScaleFor(int picture_width, int picture_height, int input_width,
                int input_height) {
  return std::min(static_cast<double>(input_width) / picture_width,
                  static_cast<double>(input_height) / picture_height);
}

int Scaled(int side, double scale, int most) {
  return std::clamp(static_cast<int>(std::nearbyint(side * scale)), 1, most);
}

}  // namespace

void Letterbox::ToPicture(camherd::v1::Box& box) const {
  const auto x = [this](float v) {
    return static_cast<float>((v - left) / scale);
  };
  const auto y = [this](float v) {
    return static_cast<float>((v - top) / scale);
  };
  box.set_x1(x(box.x1()));
  box.set_x2(x(box.x2()));
  box.set_y1(y(box.y1()));
  box.set_y2(y(box.y2()));
}

Letterbox MakeLetterbox(int picture_width, int picture_height, int input_width,
                        int input_height, const InputSpec& input) {
  Letterbox box;
  box.input_width = input_width;
  box.input_height = input_height;
  box.scale =
      ScaleFor(picture_width, picture_height, input_width, input_height);
  box.width = Scaled(picture_width, box.scale, input_width);
  box.height = Scaled(picture_height, box.scale, input_height);
  if (input.letterbox == "center") {
    // Of an odd rest the larger half is right and below.
    box.left = (input_width - box.width) / 2;
    box.top = (input_height - box.height) / 2;
  }
  return box;
}

InputSize MinimalInput(int picture_width, int picture_height,
                       const InputSpec& input, int stride) {
  const double scale =
      ScaleFor(picture_width, picture_height, input.width, input.height);
  const auto up = [&](int side, int most) {
    const int pixels = Scaled(side, scale, most);
    return std::min((pixels + stride - 1) / stride * stride, most);
  };
  return {up(picture_width, input.width), up(picture_height, input.height)};
}

}  // namespace camherd::inference
