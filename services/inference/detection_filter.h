// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "absl/types/span.h"
#include "camherd/v1/camera.pb.h"
#include "camherd/v1/detection.pb.h"
#include "services/inference/engine.h"

// Which detections count for a camera: those of a class it asks for, with at
// least the score it asks for, in one of its zones. Pure functions.
namespace camherd::inference {

// The least score to ask an engine for, so that it finds what the camera's
// thresholds let through: the model's, or a lower one of a class that the model
// keeps, but not below 0.01, where everything is a box. `classes` empty: the
// model keeps any.
double LeastScore(const camherd::v1::DetectionFilter& filter, double min_score,
                  absl::Span<const std::string> classes);

// Whether a point, as shares of the picture's sides, lies in the polygon: it is
// wound around, or on an edge, since boxes that the picture cuts end on it.
bool Contains(const camherd::v1::Polygon& polygon, double x, double y);

// Removes from `detections` what does not count, and names the zone of the
// rest: the first that holds the middle of the box's lower edge and has the
// class. A class without a threshold of the camera needs `min_score`, the
// model's. `pictures` are those the detections lie in.
void ApplyFilter(const camherd::v1::DetectionFilter& filter, double min_score,
                 absl::Span<const Picture> pictures,
                 std::vector<camherd::v1::Detection>& detections);

}  // namespace camherd::inference
