// SPDX-License-Identifier: Apache-2.0
#include "services/inference/detection_filter.h"

#include <algorithm>

namespace camherd::inference {
namespace {

using camherd::v1::Detection;
using camherd::v1::DetectionFilter;
using camherd::v1::Point;
using camherd::v1::Polygon;
using camherd::v1::Zone;

constexpr double kLeastScore = 0.01;

template <typename List>
bool Has(const List& list, const std::string& name) {
  return std::find(list.begin(), list.end(), name) != list.end();
}

// Null: in none.
const Zone* ZoneOf(const DetectionFilter& filter, const Detection& detection,
                   const Picture& picture) {
  const double x =
      (detection.box().x1() + detection.box().x2()) / 2.0 / picture.width;
  const double y = detection.box().y2() / static_cast<double>(picture.height);
  for (const Zone& zone : filter.zones()) {
    if (!zone.classes().empty() &&
        !Has(zone.classes(), detection.class_name())) {
      continue;
    }
    if (Contains(zone.area(), x, y)) return &zone;
  }
  return nullptr;
}

}  // namespace

double LeastScore(const DetectionFilter& filter, double min_score,
                  absl::Span<const std::string> classes) {
  double least = min_score;
  for (const auto& [name, score] : filter.class_thresholds()) {
    if (!classes.empty() && !Has(classes, name)) continue;
    if (!filter.classes().empty() && !Has(filter.classes(), name)) continue;
    least = std::min(least, std::max(score, kLeastScore));
  }
  return least;
}

bool Contains(const Polygon& polygon, double x, double y) {
  int winding = 0;
  for (int i = 0; i < polygon.points_size(); ++i) {
    const Point& a = polygon.points(i);
    const Point& b = polygon.points((i + 1) % polygon.points_size());
    // Twice the area of the triangle a, b, point; positive: the point is on the
    // side to which x axis turns into y axis.
    const double side =
        (b.x() - a.x()) * (y - a.y()) - (x - a.x()) * (b.y() - a.y());
    if (side == 0 && x >= std::min(a.x(), b.x()) &&
        x <= std::max(a.x(), b.x()) && y >= std::min(a.y(), b.y()) &&
        y <= std::max(a.y(), b.y())) {
      return true;
    }
    if (a.y() <= y && b.y() > y && side > 0) ++winding;
    if (a.y() > y && b.y() <= y && side < 0) --winding;
  }
  return winding != 0;
}

void ApplyFilter(const DetectionFilter& filter, double min_score,
                 absl::Span<const Picture> pictures,
                 std::vector<Detection>& detections) {
  const auto counts = [&](Detection& detection) {
    const std::string& name = detection.class_name();
    if (!filter.classes().empty() && !Has(filter.classes(), name)) return false;
    const auto threshold = filter.class_thresholds().find(name);
    // In single precision, as scores are: 0.3 is not less than 0.3.
    const auto least = static_cast<float>(
        threshold == filter.class_thresholds().end() ? min_score
                                                     : threshold->second);
    if (detection.confidence() < least) return false;
    if (filter.zones().empty()) return true;
    for (const Picture& picture : pictures) {
      if (picture.frame_index != detection.frame_index()) continue;
      const Zone* const zone = ZoneOf(filter, detection, picture);
      if (zone == nullptr) return false;
      detection.set_zone(zone->name());
      return true;
    }
    return false;
  };
  // The score is looked at only where the camera has a say in it: an engine's
  // own idea of its least score stays its own.
  if (filter.zones().empty() && filter.classes().empty() &&
      filter.class_thresholds().empty()) {
    return;
  }
  detections.erase(std::remove_if(detections.begin(), detections.end(),
                                  [&](Detection& d) { return !counts(d); }),
                   detections.end());
}

}  // namespace camherd::inference
