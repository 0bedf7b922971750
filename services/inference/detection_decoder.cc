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
  const auto anchors =
      static_cast<size_t>(AnchorsOf(input.width, input.height));
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

OutputLayout DetectionDecoder::LayoutFor(const InputSize& input) const {
  return {.yolox = options_.output == "yolox",
          .kept = kept_,
          .anchors = AnchorsOf(input.width, input.height),
          .input_width = input.width,
          .input_height = input.height,
          .max_boxes = options_.max_detections};
}

std::vector<Detection> DetectionDecoder::Decode(
    absl::Span<const float> output, const Letterbox& letterbox,
    const Picture& picture, const InferOptions& options) const {
  OutputLayout layout =
      LayoutFor({letterbox.input_width, letterbox.input_height});
  layout.every_class = options.every_class;
  return ToDetections(DecodeOnHost(output.data(), layout,
                                   {static_cast<float>(options.min_score),
                                    static_cast<float>(options.nms_iou)}),
                      letterbox, picture);
}

std::vector<Detection> DetectionDecoder::ToDetections(
    absl::Span<const ScoredBox> boxes, const Letterbox& letterbox,
    const Picture& picture) const {
  std::vector<Detection> inside;
  for (const ScoredBox& scored : boxes) {
    Detection detection;
    Box& box = *detection.mutable_box();
    box.set_x1(scored.x1);
    box.set_y1(scored.y1);
    box.set_x2(scored.x2);
    box.set_y2(scored.y2);
    letterbox.ToPicture(box);
    if (!ClipBox(picture.width, picture.height, box)) continue;
    detection.set_class_name(
        options_.class_names[static_cast<size_t>(scored.class_index)]);
    detection.set_confidence(scored.score);
    detection.set_frame_index(picture.frame_index);
    inside.push_back(std::move(detection));
  }
  return inside;
}

}  // namespace camherd::inference
