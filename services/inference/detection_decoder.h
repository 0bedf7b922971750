// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "camherd/v1/detection.pb.h"
#include "services/inference/engine.h"
#include "services/inference/kernels/detection_kernels.h"
#include "services/inference/letterbox.h"

namespace camherd::inference {

// Turns a network's output for one picture into boxes.
//
//   yolov8  [4 + C, N] float32: centre x, centre y, width, height in input
//           pixels, then a score 0..1 for each class. N anchors of strides 8,
//           16 and 32; nothing to do but to take the best class.
//   yolox   [N, 5 + C] float32: as above, but relative to the anchor's cell
//           (x, y in cells from it, log of width and height in cells), then
//           objectness, then class scores; the score is their product
//           (arXiv:2107.08430 §2.1).
//
// Immutable and thread-safe.
class DetectionDecoder {
 public:
  struct Options {
    // "yolov8" or "yolox".
    std::string output;
    // All classes in the order of the output.
    std::vector<std::string> class_names;
    // Those that are kept.
    std::vector<std::string> classes;
    // Most boxes of one picture, as ultralytics keeps them.
    int max_detections = 300;
  };

  explicit DetectionDecoder(const Options& options);

  // kInvalidArgument unless `dims`, without the batch, are what an input of
  // that size gives.
  absl::Status CheckShape(absl::Span<const size_t> dims,
                          const InputSize& input) const;

  // What the kernels need to know of the output for that input.
  OutputLayout LayoutFor(const InputSize& input) const;

  // Boxes over `min_score` that NMS leaves, in pixels of a picture of `width` x
  // `height`, by falling score. An anchor counts for its best class, and is
  // gone if that is not kept, unless `every_class`. REQUIRES: CheckShape was OK
  // for `output`.
  std::vector<camherd::v1::Detection> Decode(absl::Span<const float> output,
                                             const Letterbox& letterbox,
                                             const Picture& picture,
                                             const InferOptions& options) const;

  // Those of the network's boxes that lie in the picture, in its pixels.
  std::vector<camherd::v1::Detection> ToDetections(
      absl::Span<const ScoredBox> boxes, const Letterbox& letterbox,
      const Picture& picture) const;

 private:
  const Options options_;
  // By class of the output: is it kept?
  std::vector<uint8_t> kept_;
};

}  // namespace camherd::inference
