// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "camherd/v1/detection.pb.h"

namespace camherd::inference {

// Intersection over union of two boxes, 0..1.
float Iou(const camherd::v1::Box& a, const camherd::v1::Box& b);

// Greedy non-maximum suppression per frame and class: of two boxes whose IoU is
// over `iou` the one with the lower score goes. Orders by frame, then by
// falling score.
void SuppressNonMaxima(std::vector<camherd::v1::Detection>& detections,
                       double iou);

// Cuts a box to a picture of `width` x `height`; false: nothing of it is left,
// or a side is no number.
bool ClipBox(int width, int height, camherd::v1::Box& box);

}  // namespace camherd::inference
