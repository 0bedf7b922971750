// SPDX-License-Identifier: Apache-2.0
#include "services/inference/nms.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace camherd::inference {

using camherd::v1::Box;
using camherd::v1::Detection;

float Iou(const Box& a, const Box& b) {
  const float width = std::min(a.x2(), b.x2()) - std::max(a.x1(), b.x1());
  const float height = std::min(a.y2(), b.y2()) - std::max(a.y1(), b.y1());
  if (width <= 0 || height <= 0) return 0;
  const float both = width * height;
  const float area_a = (a.x2() - a.x1()) * (a.y2() - a.y1());
  const float area_b = (b.x2() - b.x1()) * (b.y2() - b.y1());
  return both / (area_a + area_b - both);
}

void SuppressNonMaxima(std::vector<Detection>& detections, double iou) {
  std::stable_sort(detections.begin(), detections.end(),
                   [](const Detection& a, const Detection& b) {
                     if (a.frame_index() != b.frame_index()) {
                       return a.frame_index() < b.frame_index();
                     }
                     return a.confidence() > b.confidence();
                   });
  std::vector<Detection> kept;
  for (Detection& detection : detections) {
    bool overlaps = false;
    for (auto other = kept.rbegin();
         other != kept.rend() &&
         other->frame_index() == detection.frame_index();
         ++other) {
      if (other->class_name() == detection.class_name() &&
          Iou(other->box(), detection.box()) > iou) {
        overlaps = true;
        break;
      }
    }
    if (!overlaps) kept.push_back(std::move(detection));
  }
  detections = std::move(kept);
}

bool ClipBox(int width, int height, Box& box) {
  for (const float side : {box.x1(), box.y1(), box.x2(), box.y2()}) {
    if (!std::isfinite(side)) return false;
  }
  box.set_x1(std::clamp(box.x1(), 0.0F, static_cast<float>(width)));
  box.set_x2(std::clamp(box.x2(), 0.0F, static_cast<float>(width)));
  box.set_y1(std::clamp(box.y1(), 0.0F, static_cast<float>(height)));
  box.set_y2(std::clamp(box.y2(), 0.0F, static_cast<float>(height)));
  return box.x1() < box.x2() && box.y1() < box.y2();
}

}  // namespace camherd::inference
