// SPDX-License-Identifier: Apache-2.0
//
// The arithmetic of one pixel, one box: one text for the host and for CUDA.
#pragma once

#include <cmath>

#include "services/inference/kernels/detection_kernels.h"

#ifdef __CUDACC__
#define CAMHERD_HOST_DEVICE __host__ __device__
#else
#define CAMHERD_HOST_DEVICE
#endif

namespace camherd::inference {

// A picture of [height, width, 3] bytes, scaled to inner_width x inner_height,
// at (x, y) there: three values 0..255.
struct Rgb {
  float c[3];
};
CAMHERD_HOST_DEVICE inline Rgb Sample(const PlacedPicture& picture,
                                      const uint8_t* pixels, int x, int y) {
  // In fixed point of 11 bits, as OpenCV's resize is, so that all engines see
  // the same pixels.
  constexpr int kOne = 2048;
  const float source_x = (static_cast<float>(x) + 0.5F) *
                             (static_cast<float>(picture.width) /
                              static_cast<float>(picture.inner_width)) -
                         0.5F;
  const float source_y = (static_cast<float>(y) + 0.5F) *
                             (static_cast<float>(picture.height) /
                              static_cast<float>(picture.inner_height)) -
                         0.5F;
  const float clamped_x =
      fminf(fmaxf(source_x, 0), static_cast<float>(picture.width - 1));
  const float clamped_y =
      fminf(fmaxf(source_y, 0), static_cast<float>(picture.height - 1));
  const int left = static_cast<int>(clamped_x);
  const int top = static_cast<int>(clamped_y);
  const int right = left + 1 < picture.width ? left + 1 : left;
  const int bottom = top + 1 < picture.height ? top + 1 : top;
  const int to_right =
      static_cast<int>(rintf((clamped_x - static_cast<float>(left)) * kOne));
  const int to_left = static_cast<int>(
      rintf((1 - (clamped_x - static_cast<float>(left))) * kOne));
  const int to_bottom =
      static_cast<int>(rintf((clamped_y - static_cast<float>(top)) * kOne));
  const int to_top = static_cast<int>(
      rintf((1 - (clamped_y - static_cast<float>(top))) * kOne));
  const auto width = static_cast<size_t>(picture.width);
  const uint8_t* const upper = pixels + static_cast<size_t>(top) * width * 3;
  const uint8_t* const lower = pixels + static_cast<size_t>(bottom) * width * 3;
  Rgb value{};
  for (int c = 0; c < 3; ++c) {
    const int above =
        upper[left * 3 + c] * to_left + upper[right * 3 + c] * to_right;
    const int below =
        lower[left * 3 + c] * to_left + lower[right * 3 + c] * to_right;
    value.c[c] = static_cast<float>((((to_top * (above >> 4)) >> 16) +
                                     ((to_bottom * (below >> 4)) >> 16) + 2) >>
                                    2);
  }
  return value;
}

CAMHERD_HOST_DEVICE inline ScoredBox BoxAround(float center_x, float center_y,
                                               float width, float height) {
  ScoredBox box;
  box.x1 = center_x - width / 2;
  box.y1 = center_y - height / 2;
  box.x2 = center_x + width / 2;
  box.y2 = center_y + height / 2;
  return box;
}

// The box of an anchor; `output` is one picture's.
CAMHERD_HOST_DEVICE inline ScoredBox Yolov8Box(const float* output, int anchors,
                                               int anchor) {
  const float* const at = output + anchor;
  const auto row = static_cast<size_t>(anchors);
  return BoxAround(at[0], at[row], at[2 * row], at[3 * row]);
}

CAMHERD_HOST_DEVICE inline ScoredBox YoloxBox(const float* row, int anchor,
                                              int input_width,
                                              int input_height) {
  // Which stride, and which cell of its grid.
  int cell = anchor;
  int stride = 8;
  for (; stride < 32; stride *= 2) {
    const int cells = (input_width / stride) * (input_height / stride);
    if (cell < cells) break;
    cell -= cells;
  }
  const int columns = input_width / stride;
  const auto s = static_cast<float>(stride);
  return BoxAround((row[0] + static_cast<float>(cell % columns)) * s,
                   (row[1] + static_cast<float>(cell / columns)) * s,
                   expf(row[2]) * s, expf(row[3]) * s);
}

// Intersection over union, 0..1.
CAMHERD_HOST_DEVICE inline float Iou(const ScoredBox& a, const ScoredBox& b) {
  const float width = fminf(a.x2, b.x2) - fmaxf(a.x1, b.x1);
  const float height = fminf(a.y2, b.y2) - fmaxf(a.y1, b.y1);
  if (width <= 0 || height <= 0) return 0;
  const float both = width * height;
  const float area_a = (a.x2 - a.x1) * (a.y2 - a.y1);
  const float area_b = (b.x2 - b.x1) * (b.y2 - b.y1);
  return both / (area_a + area_b - both);
}

}  // namespace camherd::inference
