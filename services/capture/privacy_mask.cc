// SPDX-License-Identifier: Apache-2.0
#include "services/capture/privacy_mask.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace camherd::capture {
namespace {

using Run = PrivacyMask::Run;
// By row, in any order.
using Rows = std::vector<std::vector<Run>>;

// In pixels of the picture; row r covers [r, r + 1].
struct Corner {
  double x = 0;
  double y = 0;
};

// The pixels between `left` and `right`, those they cut included.
Run Covering(double left, double right) {
  return {static_cast<int32_t>(std::floor(left)),
          static_cast<int32_t>(std::ceil(right))};
}

// The pixels that the edge passes through.
void AddEdge(const Corner& a, const Corner& b, Rows& rows) {
  const Corner& top = a.y <= b.y ? a : b;
  const Corner& bottom = a.y <= b.y ? b : a;
  const auto last = static_cast<int>(std::ceil(bottom.y));
  for (int row = static_cast<int>(std::floor(top.y)); row < last; ++row) {
    double x1 = top.x;
    double x2 = bottom.x;
    if (bottom.y > top.y) {
      const double slope = (bottom.x - top.x) / (bottom.y - top.y);
      if (top.y < row) x1 += (row - top.y) * slope;
      if (bottom.y > row + 1) x2 = top.x + (row + 1 - top.y) * slope;
    }
    rows[static_cast<size_t>(row)].push_back(
        Covering(std::min(x1, x2), std::max(x1, x2)));
  }
}

// The pixels whose middle line runs inside, by the winding number. With those
// of AddEdge that is all: what no edge passes through is inside as a whole or
// not at all.
void AddInside(const std::vector<Corner>& corners, Rows& rows) {
  for (size_t row = 0; row < rows.size(); ++row) {
    const double y = static_cast<double>(row) + 0.5;
    std::vector<std::pair<double, int>> crossings;
    for (size_t i = 0; i < corners.size(); ++i) {
      const Corner& a = corners[i];
      const Corner& b = corners[(i + 1) % corners.size()];
      if ((a.y <= y) == (b.y <= y)) continue;
      crossings.push_back(
          {a.x + (y - a.y) * (b.x - a.x) / (b.y - a.y), a.y <= y ? 1 : -1});
    }
    std::sort(crossings.begin(), crossings.end());
    int winding = 0;
    for (size_t i = 0; i + 1 < crossings.size(); ++i) {
      winding += crossings[i].second;
      if (winding == 0) continue;
      rows[row].push_back(Covering(crossings[i].first, crossings[i + 1].first));
    }
  }
}

// False: it is none.
bool AddPolygon(const v1::Polygon& polygon, int width, Rows& rows) {
  std::vector<Corner> corners;
  for (const v1::Point& point : polygon.points()) {
    if (!(point.x() >= 0 && point.x() <= 1 && point.y() >= 0 &&
          point.y() <= 1)) {
      return false;
    }
    corners.push_back(
        {point.x() * width, point.y() * static_cast<double>(rows.size())});
  }
  if (corners.size() < 3) return false;
  for (size_t i = 0; i < corners.size(); ++i) {
    AddEdge(corners[i], corners[(i + 1) % corners.size()], rows);
  }
  AddInside(corners, rows);
  return true;
}

}  // namespace

PrivacyMask::PrivacyMask(absl::Span<const v1::Polygon> polygons, int width,
                         int height)
    : width_(width), height_(height) {
  Rows rows(static_cast<size_t>(height));
  for (const v1::Polygon& polygon : polygons) {
    if (AddPolygon(polygon, width, rows)) continue;
    for (std::vector<Run>& row : rows) row = {{0, width}};
  }
  visible_ = static_cast<int64_t>(width) * height;
  first_.reserve(rows.size() + 1);
  for (std::vector<Run>& row : rows) {
    first_.push_back(runs_.size());
    std::sort(row.begin(), row.end(),
              [](const Run& a, const Run& b) { return a.begin < b.begin; });
    for (const Run& run : row) {
      if (run.begin >= run.end) continue;
      if (runs_.size() > first_.back() && run.begin <= runs_.back().end) {
        const int32_t more = run.end - runs_.back().end;
        if (more <= 0) continue;
        runs_.back().end = run.end;
        visible_ -= more;
      } else {
        runs_.push_back(run);
        visible_ -= run.end - run.begin;
      }
    }
  }
  first_.push_back(runs_.size());
}

}  // namespace camherd::capture
