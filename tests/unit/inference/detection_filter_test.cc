// SPDX-License-Identifier: Apache-2.0
#include "services/inference/detection_filter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

namespace camherd::inference {
namespace {

using camherd::v1::Detection;
using camherd::v1::Polygon;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

Polygon MakePolygon(std::initializer_list<std::pair<double, double>> corners) {
  Polygon polygon;
  for (const auto& [x, y] : corners) {
    camherd::v1::Point& point = *polygon.add_points();
    point.set_x(x);
    point.set_y(y);
  }
  return polygon;
}

// The rectangle [left, right] x [0, 1].
Polygon Stripe(double left, double right) {
  return MakePolygon({{left, 0}, {right, 0}, {right, 1}, {left, 1}});
}

class DetectionFilterTest : public ::testing::Test {
 protected:
  // A box whose lower edge has its middle at (x, y) of a picture of 200 x 100.
  void Add(const std::string& name, float score, float x, float y,
           int frame = 0) {
    Detection& detection = detections_.emplace_back();
    detection.set_class_name(name);
    detection.set_confidence(score);
    detection.set_frame_index(frame);
    detection.mutable_box()->set_x1(x - 5);
    detection.mutable_box()->set_x2(x + 5);
    detection.mutable_box()->set_y1(y - 20);
    detection.mutable_box()->set_y2(y);
  }

  void AddZone(const std::string& name, Polygon area,
               std::initializer_list<const char*> classes = {}) {
    camherd::v1::Zone& zone = *filter_.add_zones();
    zone.set_name(name);
    *zone.mutable_area() = std::move(area);
    for (const char* one : classes) zone.add_classes(one);
  }

  // "class score zone" of those that are left.
  std::vector<std::string> Left(double min_score = 0.25) {
    const std::vector<Picture> pictures = {
        {.frame_index = 0, .jpeg = "", .width = 200, .height = 100},
        {.frame_index = 2, .jpeg = "", .width = 400, .height = 100}};
    ApplyFilter(filter_, min_score, pictures, detections_);
    std::vector<std::string> left;
    for (const Detection& d : detections_) {
      left.push_back(d.class_name() + "@" + d.zone());
    }
    return left;
  }

  camherd::v1::DetectionFilter filter_;
  std::vector<Detection> detections_;
};

TEST_F(DetectionFilterTest, WithoutAnythingToSayAllCount) {
  Add("dog", 0.1F, 50, 50);
  EXPECT_THAT(Left(), ElementsAre("dog@"));
}

TEST_F(DetectionFilterTest, TheMiddleOfTheLowerEdgeMustLieInAZone) {
  AddZone("left", Stripe(0, 0.5));
  AddZone("top", MakePolygon({{0, 0}, {1, 0}, {1, 0.3}, {0, 0.3}}));
  Add("dog", 0.9F, 50, 90);
  // Its box overlaps the left half, its foot stands in the right one.
  Add("cat", 0.9F, 102, 90);
  // Its head is in the top zone, its foot is not.
  Add("cow", 0.9F, 150, 45);
  Add("bird", 0.9F, 150, 25);
  EXPECT_THAT(Left(), ElementsAre("dog@left", "bird@top"));
}

TEST_F(DetectionFilterTest, ABoxThatThePictureCutsStandsOnItsEdge) {
  AddZone("all", Stripe(0, 1));
  Add("dog", 0.9F, 195, 100);
  EXPECT_THAT(Left(), ElementsAre("dog@all"));
}

TEST_F(DetectionFilterTest, AZoneCountsItsClassesOnly) {
  AddZone("road", Stripe(0, 1), {"car", "dog"});
  AddZone("path", Stripe(0, 1), {"person"});
  for (const char* name : {"car", "person", "cow"}) Add(name, 0.9F, 50, 50);
  EXPECT_THAT(Left(), ElementsAre("car@road", "person@path"));
}

TEST_F(DetectionFilterTest, SharesAreOfThePictureTheBoxLiesIn) {
  AddZone("left", Stripe(0, 0.5));
  Add("dog", 0.9F, 150, 50, 0);
  Add("cat", 0.9F, 150, 50, 2);
  // Of no picture that is known.
  Add("cow", 0.9F, 10, 50, 1);
  EXPECT_THAT(Left(), ElementsAre("cat@left"));
}

TEST_F(DetectionFilterTest, TheCamerasThresholdStandsInForTheModels) {
  (*filter_.mutable_class_thresholds())["dog"] = 0.6;
  (*filter_.mutable_class_thresholds())["cow"] = 0.1;
  Add("dog", 0.59F, 50, 50);
  Add("dog", 0.6F, 50, 50);
  Add("cow", 0.11F, 50, 50);
  Add("cow", 0.09F, 50, 50);
  // The engine was asked for 0.1 because of the cow.
  Add("cat", 0.2F, 50, 50);
  Add("cat", 0.25F, 50, 50);
  EXPECT_THAT(Left(), ElementsAre("dog@", "cow@", "cat@"));
}

TEST_F(DetectionFilterTest, OnlyTheClassesAskedForCount) {
  filter_.add_classes("dog");
  Add("dog", 0.9F, 50, 50);
  Add("cat", 0.9F, 50, 50);
  EXPECT_THAT(Left(), ElementsAre("dog@"));
}

TEST_F(DetectionFilterTest, AThresholdOfOneLetsNothingUncertainThrough) {
  (*filter_.mutable_class_thresholds())["person"] = 1;
  Add("person", 0.9999F, 50, 50);
  EXPECT_THAT(Left(), IsEmpty());
}

TEST_F(DetectionFilterTest, AsksForTheLeastScoreOfAClassTheModelKeeps) {
  const std::vector<std::string> kept = {"dog", "cat"};
  EXPECT_EQ(LeastScore(filter_, 0.25, kept), 0.25);
  (*filter_.mutable_class_thresholds())["dog"] = 0.6;
  EXPECT_EQ(LeastScore(filter_, 0.25, kept), 0.25);
  (*filter_.mutable_class_thresholds())["cow"] = 0.1;
  EXPECT_EQ(LeastScore(filter_, 0.25, kept), 0.25);
  EXPECT_EQ(LeastScore(filter_, 0.25, {}), 0.1);
  (*filter_.mutable_class_thresholds())["cat"] = 0.15;
  EXPECT_EQ(LeastScore(filter_, 0.25, kept), 0.15);
  filter_.add_classes("dog");
  EXPECT_EQ(LeastScore(filter_, 0.25, kept), 0.25);
  (*filter_.mutable_class_thresholds())["dog"] = 0;
  EXPECT_EQ(LeastScore(filter_, 0.25, kept), 0.01);
}

TEST(ContainsTest, KnowsInsideFromOutside) {
  // Clockwise, the other way round, and one with a bay.
  const Polygon triangle = MakePolygon({{0.1, 0.1}, {0.9, 0.1}, {0.5, 0.9}});
  const Polygon turned = MakePolygon({{0.5, 0.9}, {0.9, 0.1}, {0.1, 0.1}});
  const Polygon bay = MakePolygon({{0, 0},
                                   {1, 0},
                                   {1, 1},
                                   {0.6, 1},
                                   {0.6, 0.4},
                                   {0.4, 0.4},
                                   {0.4, 1},
                                   {0, 1}});
  for (const Polygon& polygon : {triangle, turned}) {
    EXPECT_TRUE(Contains(polygon, 0.5, 0.5));
    EXPECT_FALSE(Contains(polygon, 0.15, 0.8));
    EXPECT_FALSE(Contains(polygon, 0.5, 0.95));
    EXPECT_TRUE(Contains(polygon, 0.5, 0.1));
  }
  EXPECT_FALSE(Contains(bay, 0.5, 0.7));
  EXPECT_TRUE(Contains(bay, 0.5, 0.2));
  EXPECT_TRUE(Contains(bay, 0.2, 0.9));
  EXPECT_TRUE(Contains(bay, 1, 1));
}

TEST(ContainsTest, WhatIsWoundAroundTwiceIsInside) {
  // A star: its middle is wound around twice.
  const Polygon star =
      MakePolygon({{0.5, 0}, {0.8, 1}, {0, 0.4}, {1, 0.4}, {0.2, 1}});
  EXPECT_TRUE(Contains(star, 0.5, 0.5));
  EXPECT_FALSE(Contains(star, 0.1, 0.1));
}

TEST(ContainsTest, APolygonWithoutAnAreaHoldsNothing) {
  EXPECT_FALSE(Contains(Polygon(), 0.5, 0.5));
  EXPECT_FALSE(Contains(MakePolygon({{0, 0}, {1, 0}}), 0.5, 0.5));
}

}  // namespace
}  // namespace camherd::inference
