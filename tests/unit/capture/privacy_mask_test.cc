// SPDX-License-Identifier: Apache-2.0
#include "services/capture/privacy_mask.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <initializer_list>
#include <limits>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

namespace camherd::capture {
namespace {

v1::Polygon MakePolygon(
    std::initializer_list<std::pair<double, double>> corners) {
  v1::Polygon polygon;
  for (const auto& [x, y] : corners) {
    v1::Point& point = *polygon.add_points();
    point.set_x(x);
    point.set_y(y);
  }
  return polygon;
}

// One line a row, # where it is covered.
std::vector<std::string> Drawn(const PrivacyMask& mask) {
  std::vector<std::string> rows;
  for (int row = 0; row < mask.height(); ++row) {
    std::string& line =
        rows.emplace_back(static_cast<size_t>(mask.width()), '.');
    int end = -1;
    for (const PrivacyMask::Run& run : mask.Row(row)) {
      EXPECT_GT(run.begin, end) << "runs touch or overlap";
      EXPECT_LT(run.begin, run.end);
      for (int x = run.begin; x < run.end; ++x) {
        line.at(static_cast<size_t>(x)) = '#';
      }
      end = run.end;
    }
  }
  return rows;
}

int64_t Visible(const std::vector<std::string>& rows) {
  int64_t visible = 0;
  for (const std::string& row : rows) {
    visible += std::count(row.begin(), row.end(), '.');
  }
  return visible;
}

// By the angle that the polygon turns around the point: another way than the
// mask's.
bool Inside(const v1::Polygon& polygon, double x, double y) {
  double turned = 0;
  for (int i = 0; i < polygon.points_size(); ++i) {
    const v1::Point& a = polygon.points(i);
    const v1::Point& b = polygon.points((i + 1) % polygon.points_size());
    double angle =
        std::atan2(b.y() - y, b.x() - x) - std::atan2(a.y() - y, a.x() - x);
    if (angle > M_PI) angle -= 2 * M_PI;
    if (angle < -M_PI) angle += 2 * M_PI;
    turned += angle;
  }
  return std::fabs(turned) > 1;
}

// The promise: whatever pixel has a point inside is covered, and what is
// covered is not a whole pixel away from the polygon.
void ExpectCovers(const v1::Polygon& polygon, int width, int height) {
  const PrivacyMask mask({&polygon, 1}, width, height);
  const std::vector<std::string> drawn = Drawn(mask);
  EXPECT_EQ(mask.visible(), Visible(drawn));
  constexpr int kParts = 6;
  std::vector<std::string> reference(
      static_cast<size_t>(height),
      std::string(static_cast<size_t>(width), '.'));
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      for (int part = 0; part < kParts * kParts; ++part) {
        const double px = x + (part % kParts + 0.5) / kParts;
        const double py = y + (part / kParts + 0.5) / kParts;
        if (!Inside(polygon, px / width, py / height)) continue;
        reference[static_cast<size_t>(y)][static_cast<size_t>(x)] = '#';
        break;
      }
    }
  }
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      const auto at = [&](int row, int column) {
        return row >= 0 && row < height && column >= 0 && column < width &&
               reference[static_cast<size_t>(row)]
                        [static_cast<size_t>(column)] == '#';
      };
      const bool covered =
          drawn[static_cast<size_t>(y)][static_cast<size_t>(x)] == '#';
      if (at(y, x)) {
        EXPECT_TRUE(covered) << x << "," << y << polygon.ShortDebugString();
      }
      bool near = false;
      for (int i = 0; i < 9; ++i) near |= at(y + i / 3 - 1, x + i % 3 - 1);
      // Thinner than the parts that are looked at: no neighbour shows it.
      if (!near && covered) {
        bool edge = false;
        for (int i = 0; i < polygon.points_size() && !edge; ++i) {
          const v1::Point& a = polygon.points(i);
          const v1::Point& b = polygon.points((i + 1) % polygon.points_size());
          for (int step = 0; step <= 1000 && !edge; ++step) {
            const double ex = (a.x() + (b.x() - a.x()) * step / 1000) * width;
            const double ey = (a.y() + (b.y() - a.y()) * step / 1000) * height;
            edge = std::fabs(ex - x - 0.5) <= 1.5 &&
                   std::fabs(ey - y - 0.5) <= 1.5;
          }
        }
        EXPECT_TRUE(edge) << x << "," << y << polygon.ShortDebugString();
      }
    }
  }
}

TEST(PrivacyMaskTest, CoversEachPixelOfWhichThePolygonHasAPart) {
  const v1::Polygon polygon =
      MakePolygon({{0.25, 0.25}, {0.7, 0.25}, {0.7, 0.6}, {0.25, 0.6}});
  // In pixels: 2..5.6 and 1..2.4.
  EXPECT_THAT(
      Drawn(PrivacyMask({&polygon, 1}, 8, 4)),
      ::testing::ElementsAre("........", "..####..", "..####..", "........"));
}

TEST(PrivacyMaskTest, ARectangleOnPixelBordersCoversNoPixelBeyond) {
  const v1::Polygon left = MakePolygon({{0, 0}, {0.5, 0}, {0.5, 1}, {0, 1}});
  EXPECT_THAT(Drawn(PrivacyMask({&left, 1}, 6, 2)),
              ::testing::ElementsAre("###...", "###..."));
}

TEST(PrivacyMaskTest, PolygonsAddUp) {
  const std::vector<v1::Polygon> polygons = {
      MakePolygon({{0, 0}, {0.5, 0}, {0.5, 1}, {0, 1}}),
      MakePolygon({{0.5, 0}, {0.75, 0}, {0.75, 0.5}, {0.5, 0.5}}),
      MakePolygon({{0.25, 0}, {0.625, 0}, {0.625, 1}, {0.25, 1}})};
  const PrivacyMask mask(polygons, 8, 2);
  EXPECT_THAT(Drawn(mask), ::testing::ElementsAre("######..", "#####..."));
  EXPECT_EQ(mask.Row(0).size(), 1u);
  EXPECT_EQ(mask.visible(), 5);
}

TEST(PrivacyMaskTest, ANeedleAndWhatIsWoundAroundTwiceAreCovered) {
  ExpectCovers(MakePolygon({{0.03, 0.04}, {0.97, 0.52}, {0.97, 0.525}}), 32,
               24);
  ExpectCovers(MakePolygon({{0.5, 0}, {0.8, 1}, {0, 0.4}, {1, 0.4}, {0.2, 1}}),
               32, 24);
  // Inside of one pixel.
  ExpectCovers(MakePolygon({{0.51, 0.51}, {0.52, 0.51}, {0.52, 0.52}}), 32, 24);
}

TEST(PrivacyMaskTest, AnyPolygonIsCoveredAndNotMuchMore) {
  std::mt19937 random(20260801);
  std::uniform_real_distribution<double> share(0, 1);
  for (int round = 0; round < 150; ++round) {
    v1::Polygon polygon;
    const int corners = 3 + round % 8;
    for (int i = 0; i < corners; ++i) {
      v1::Point& point = *polygon.add_points();
      // Some on the picture's edges and on pixel borders.
      point.set_x(round % 3 == 0 ? std::round(share(random) * 8) / 8
                                 : share(random));
      point.set_y(round % 3 == 1 ? std::round(share(random)) : share(random));
    }
    ExpectCovers(polygon, 8 + round % 17, 6 + round % 13);
  }
}

TEST(PrivacyMaskTest, WhatIsNoPolygonCoversEverything) {
  for (const v1::Polygon& polygon :
       {v1::Polygon(), MakePolygon({{0, 0}, {1, 1}}),
        MakePolygon({{0, 0}, {1.5, 0}, {0.5, 0.1}}),
        MakePolygon({{0, 0}, {-0.1, 0}, {0.5, 0.1}}),
        MakePolygon({{0, 0}, {std::nan(""), 0}, {0.5, 0.1}}),
        MakePolygon(
            {{0, 0}, {std::numeric_limits<double>::infinity(), 0}, {0, 1}})}) {
    const PrivacyMask mask({&polygon, 1}, 4, 2);
    EXPECT_THAT(Drawn(mask), ::testing::ElementsAre("####", "####"))
        << polygon.ShortDebugString();
    EXPECT_EQ(mask.visible(), 0);
  }
}

TEST(PrivacyMaskTest, WithoutPolygonsNothingIsCovered) {
  const PrivacyMask mask({}, 4, 2);
  EXPECT_EQ(mask.visible(), 8);
  EXPECT_EQ(mask.Row(1).size(), 0u);
}

}  // namespace
}  // namespace camherd::capture
