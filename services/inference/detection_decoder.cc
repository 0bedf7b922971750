// SPDX-License-Identifier: Apache-2.0
#include "services/inference/detection_decoder.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "services/inference/nms.h"

namespace camherd::inference {
namespace {

using camherd::v1::Box;
using camherd::v1::Detection;

constexpr int kStrides[] = {8, 16, 32};

size_t AnchorsOf(const InputSize& input) {
  size_t anchors = 0;
  for (const int stride : kStrides) {
    anchors += static_cast<size_t>(input.width / stride) *
               static_cast<size_t>(input.height / stride);
  }
  return anchors;
}

void SetBox(float cx, float cy, float width, float height, Box& box) {
  box.set_x1(cx - width / 2);
  box.set_y1(cy - height / 2);
  box.set_x2(cx + width / 2);
  box.set_y2(cy + height / 2);
}

}  // namespace

DetectionDecoder::DetectionDecoder(const Options& options) : options_(options) {
  for (const std::string& name : options_.class_names) {
    kept_.push_back(std::find(options_.classes.begin(), options_.classes.end(),
                              name) != options_.classes.end());
  }
}

absl::Status DetectionDecoder::CheckShape(absl::Span<const size_t> dims,
                                          const InputSize& input) const {
  const size_t classes = options_.class_names.size();
  const size_t anchors = AnchorsOf(input);
  const bool yolox = options_.output == "yolox";
  const std::vector<size_t> want =
      yolox ? std::vector<size_t>{anchors, 5 + classes}
            : std::vector<size_t>{4 + classes, anchors};
  if (dims == absl::MakeConstSpan(want)) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "the network's output must be [1, ", absl::StrJoin(want, ", "), "] (",
      options_.output, ", ", classes, " classes, input ", input.width, "x",
      input.height, "), got [1, ", absl::StrJoin(dims, ", "), "]"));
}

std::vector<DetectionDecoder::Anchor> DetectionDecoder::Yolov8Anchors(
    absl::Span<const float> output, float min_score, bool every_class) const {
  const size_t classes = kept_.size();
  const size_t anchors = output.size() / (4 + classes);
  std::vector<Anchor> found;
  if (every_class) {
    for (size_t c = 0; c < classes; ++c) {
      const float* const row = output.data() + (4 + c) * anchors;
      for (size_t i = 0; kept_[c] && i < anchors; ++i) {
        if (row[i] > min_score) {
          found.push_back({row[i], static_cast<int>(c), i});
        }
      }
    }
    return found;
  }
  // Row by row, so that memory is read in order.
  std::vector<float> best(output.begin() + 4 * anchors,
                          output.begin() + 5 * anchors);
  std::vector<int> which(anchors, 0);
  for (size_t c = 1; c < classes; ++c) {
    const float* const row = output.data() + (4 + c) * anchors;
    for (size_t i = 0; i < anchors; ++i) {
      const bool better = row[i] > best[i];
      best[i] = better ? row[i] : best[i];
      which[i] = better ? static_cast<int>(c) : which[i];
    }
  }
  for (size_t i = 0; i < anchors; ++i) {
    if (best[i] > min_score && kept_[which[i]]) {
      found.push_back({best[i], which[i], i});
    }
  }
  return found;
}

std::vector<DetectionDecoder::Anchor> DetectionDecoder::YoloxAnchors(
    absl::Span<const float> output, float min_score, bool every_class) const {
  const size_t width = 5 + kept_.size();
  std::vector<Anchor> found;
  for (size_t i = 0; i * width < output.size(); ++i) {
    const float* const row = output.data() + i * width;
    // A class score is at most 1.
    if (row[4] <= min_score) continue;
    if (every_class) {
      for (size_t c = 0; c < kept_.size(); ++c) {
        const float score = row[4] * row[5 + c];
        if (kept_[c] && score > min_score) {
          found.push_back({score, static_cast<int>(c), i});
        }
      }
      continue;
    }
    const float* const best = std::max_element(row + 5, row + width);
    const float score = row[4] * *best;
    const int which = static_cast<int>(best - (row + 5));
    if (score > min_score && kept_[which]) found.push_back({score, which, i});
  }
  return found;
}

std::vector<Detection> DetectionDecoder::Decode(
    absl::Span<const float> output, const Letterbox& letterbox,
    const Picture& picture, const InferOptions& options) const {
  const bool yolox = options_.output == "yolox";
  const auto min_score = static_cast<float>(options.min_score);
  const std::vector<Anchor> best =
      yolox ? YoloxAnchors(output, min_score, options.every_class)
            : Yolov8Anchors(output, min_score, options.every_class);
  std::vector<Detection> detections;
  detections.reserve(best.size());
  const size_t anchors =
      output.size() / ((yolox ? 5 : 4) + options_.class_names.size());
  for (const Anchor& anchor : best) {
    Detection detection;
    detection.set_class_name(options_.class_names[anchor.class_index]);
    detection.set_confidence(anchor.score);
    detection.set_frame_index(picture.frame_index);
    Box& box = *detection.mutable_box();
    if (yolox) {
      const float* const row =
          output.data() + anchor.index * (5 + options_.class_names.size());
      // Which stride, and which cell of its grid.
      size_t cell = anchor.index;
      int stride = kStrides[0];
      for (const int s : kStrides) {
        stride = s;
        const size_t cells = static_cast<size_t>(letterbox.input_width / s) *
                             static_cast<size_t>(letterbox.input_height / s);
        if (cell < cells) break;
        cell -= cells;
      }
      const size_t columns =
          static_cast<size_t>(letterbox.input_width / stride);
      const auto s = static_cast<float>(stride);
      SetBox((row[0] + static_cast<float>(cell % columns)) * s,
             (row[1] + static_cast<float>(cell / columns)) * s,
             std::exp(row[2]) * s, std::exp(row[3]) * s, box);
    } else {
      const float* const at = output.data() + anchor.index;
      SetBox(at[0], at[anchors], at[2 * anchors], at[3 * anchors], box);
    }
    detections.push_back(std::move(detection));
  }
  SuppressNonMaxima(detections, options.nms_iou);
  std::vector<Detection> inside;
  for (Detection& detection : detections) {
    if (static_cast<int>(inside.size()) == options_.max_detections) break;
    letterbox.ToPicture(*detection.mutable_box());
    if (ClipBox(picture.width, picture.height, *detection.mutable_box())) {
      inside.push_back(std::move(detection));
    }
  }
  return inside;
}

}  // namespace camherd::inference
