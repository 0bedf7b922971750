// SPDX-License-Identifier: Apache-2.0
#include "services/inference/kernels/detection_kernels.h"

#include <algorithm>

#include "services/inference/kernels/detection_math.h"

namespace camherd::inference {
namespace {

// By class and anchor, as the output has them.
std::vector<ScoredBox> Yolov8Boxes(const float* output,
                                   const OutputLayout& layout,
                                   float min_score) {
  const size_t classes = layout.kept.size();
  const auto anchors = static_cast<size_t>(layout.anchors);
  std::vector<ScoredBox> found;
  const auto add = [&](size_t anchor, float score, size_t which) {
    ScoredBox box = Yolov8Box(output, layout.anchors, static_cast<int>(anchor));
    box.score = score;
    box.class_index = static_cast<int>(which);
    found.push_back(box);
  };
  if (layout.every_class) {
    for (size_t c = 0; c < classes; ++c) {
      const float* const row = output + (4 + c) * anchors;
      for (size_t i = 0; layout.kept[c] != 0 && i < anchors; ++i) {
        if (row[i] > min_score) add(i, row[i], c);
      }
    }
    return found;
  }
  // Row by row, so that memory is read in order. Which class it was is looked
  // for where it matters, at a few of the thousands of anchors.
  std::vector<float> best(output + 4 * anchors, output + 5 * anchors);
  for (size_t c = 1; c < classes; ++c) {
    const float* const row = output + (4 + c) * anchors;
    for (size_t i = 0; i < anchors; ++i) {
      best[i] = row[i] > best[i] ? row[i] : best[i];
    }
  }
  for (size_t i = 0; i < anchors; ++i) {
    if (!(best[i] > min_score)) continue;
    size_t c = 0;
    while (output[(4 + c) * anchors + i] != best[i]) ++c;
    if (layout.kept[c] != 0) add(i, best[i], c);
  }
  return found;
}

std::vector<ScoredBox> YoloxBoxes(const float* output,
                                  const OutputLayout& layout, float min_score) {
  const size_t classes = layout.kept.size();
  std::vector<ScoredBox> found;
  for (int i = 0; i < layout.anchors; ++i) {
    const float* const row = output + static_cast<size_t>(i) * (5 + classes);
    // A class score is at most 1.
    if (!(row[4] > min_score)) continue;
    const auto add = [&](size_t c) {
      const float score = row[4] * row[5 + c];
      if (!(score > min_score) || layout.kept[c] == 0) return;
      ScoredBox box = YoloxBox(row, i, layout.input_width, layout.input_height);
      box.score = score;
      box.class_index = static_cast<int>(c);
      found.push_back(box);
    };
    if (layout.every_class) {
      for (size_t c = 0; c < classes; ++c) add(c);
    } else {
      add(static_cast<size_t>(std::max_element(row + 5, row + 5 + classes) -
                              (row + 5)));
    }
  }
  return found;
}

}  // namespace

void LetterboxOnHost(std::span<const PlacedPicture> pictures,
                     const InputLayout& layout, float* input) {
  const size_t plane =
      static_cast<size_t>(layout.width) * static_cast<size_t>(layout.height);
  for (const PlacedPicture& picture : pictures) {
    std::fill(input, input + 3 * plane, layout.pad / layout.scale);
    for (int y = 0; y < picture.inner_height; ++y) {
      float* const row = input +
                         static_cast<size_t>(picture.top + y) *
                             static_cast<size_t>(layout.width) +
                         picture.left;
      for (int x = 0; x < picture.inner_width; ++x) {
        const Rgb value = Sample(picture, picture.pixels, x, y);
        for (size_t c = 0; c < 3; ++c) {
          row[c * plane + static_cast<size_t>(x)] = value.c[c] / layout.scale;
        }
      }
    }
    input += 3 * plane;
  }
}

int AnchorsOf(int input_width, int input_height) {
  int anchors = 0;
  for (const int stride : {8, 16, 32}) {
    anchors += (input_width / stride) * (input_height / stride);
  }
  return anchors;
}

void SuppressNonMaxima(std::vector<ScoredBox>& boxes, float iou,
                       int max_boxes) {
  std::stable_sort(
      boxes.begin(), boxes.end(),
      [](const ScoredBox& a, const ScoredBox& b) { return a.score > b.score; });
  std::vector<ScoredBox> kept;
  for (const ScoredBox& box : boxes) {
    if (kept.size() == static_cast<size_t>(max_boxes)) break;
    const bool overlaps =
        std::any_of(kept.begin(), kept.end(), [&](const ScoredBox& better) {
          return better.class_index == box.class_index &&
                 Iou(better, box) > iou;
        });
    if (!overlaps) kept.push_back(box);
  }
  boxes = std::move(kept);
}

std::vector<ScoredBox> DecodeOnHost(const float* output,
                                    const OutputLayout& layout,
                                    const Thresholds& thresholds) {
  std::vector<ScoredBox> boxes =
      layout.yolox ? YoloxBoxes(output, layout, thresholds.min_score)
                   : Yolov8Boxes(output, layout, thresholds.min_score);
  SuppressNonMaxima(boxes, thresholds.iou, layout.max_boxes);
  return boxes;
}

}  // namespace camherd::inference
