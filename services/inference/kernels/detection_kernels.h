// SPDX-License-Identifier: Apache-2.0
//
// What stands before and behind a detector's network, over a batch, without any
// library: the reference that CudaDevice is held to, and what runs where there
// is no GPU.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace camherd::inference {

// A decoded picture and its place in the network's input.
struct PlacedPicture {
  // [height, width, 3] uint8, rows without padding, in the host's memory.
  const uint8_t* pixels = nullptr;
  int width = 0;
  int height = 0;
  // The part of the input that the picture is scaled into, pixels.
  int left = 0;
  int top = 0;
  int inner_width = 0;
  int inner_height = 0;

  size_t bytes() const {
    return static_cast<size_t>(width) * static_cast<size_t>(height) * 3;
  }
};

// The network's input: [batch, 3, height, width] float32.
struct InputLayout {
  int width = 0;
  int height = 0;
  // Value of what no picture covers, and what all values are divided by.
  float pad = 114;
  float scale = 255;
};

// Scales each picture into its place, bilinear with the centres of the pixels
// as its grid, rounded to whole values as a picture of bytes is, and divides.
void LetterboxOnHost(std::span<const PlacedPicture> pictures,
                     const InputLayout& layout, float* input);

// The network's output: [batch, 4 + C, N] or [batch, N, 5 + C] float32, as
// DetectionDecoder says.
struct OutputLayout {
  bool yolox = false;
  // By class: is it kept?
  std::vector<uint8_t> kept;
  int anchors = 0;
  int input_width = 0;
  int input_height = 0;
  // An anchor counts for every class over the least score; else for its best
  // only, and is gone if that is not kept.
  bool every_class = false;
  // Most boxes of one picture, as ultralytics keeps them.
  int max_boxes = 300;

  // Floats of one picture's output.
  size_t size() const {
    return static_cast<size_t>(anchors) * (kept.size() + (yolox ? 5 : 4));
  }
};

// Anchors of an input: a cell each of the grids of strides 8, 16 and 32.
int AnchorsOf(int input_width, int input_height);

// Least score kept, and IoU above which the lower of two boxes of a class goes.
struct Thresholds {
  float min_score = 0.25F;
  float iou = 0.7F;
};

// A box in input pixels, not cut to the input.
struct ScoredBox {
  float x1 = 0;
  float y1 = 0;
  float x2 = 0;
  float y2 = 0;
  float score = 0;
  int class_index = 0;
};

// Orders by falling score, equal ones as they came; drops what a better one of
// its class overlaps, and what is over `max_boxes`.
void SuppressNonMaxima(std::vector<ScoredBox>& boxes, float iou, int max_boxes);

// The boxes of one picture's output.
std::vector<ScoredBox> DecodeOnHost(const float* output,
                                    const OutputLayout& layout,
                                    const Thresholds& thresholds);

}  // namespace camherd::inference
