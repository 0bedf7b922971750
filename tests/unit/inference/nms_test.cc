// SPDX-License-Identifier: Apache-2.0
#include "services/inference/nms.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

namespace camherd::inference {
namespace {

using camherd::v1::Box;
using camherd::v1::Detection;
using ::testing::ElementsAre;

Box MakeBox(float x1, float y1, float x2, float y2) {
  Box box;
  box.set_x1(x1);
  box.set_y1(y1);
  box.set_x2(x2);
  box.set_y2(y2);
  return box;
}

Detection Make(const std::string& name, float score, float x, int frame = 0) {
  Detection detection;
  detection.set_class_name(name);
  detection.set_confidence(score);
  detection.set_frame_index(frame);
  *detection.mutable_box() = MakeBox(x, 0, x + 10, 10);
  return detection;
}

std::vector<float> Scores(std::vector<Detection> detections, double iou) {
  SuppressNonMaxima(detections, iou);
  std::vector<float> scores;
  for (const Detection& one : detections) scores.push_back(one.confidence());
  return scores;
}

TEST(NmsTest, IouIsTheShareOfTheCommonArea) {
  EXPECT_FLOAT_EQ(Iou(MakeBox(0, 0, 10, 10), MakeBox(5, 0, 15, 10)), 1.0F / 3);
  EXPECT_FLOAT_EQ(Iou(MakeBox(0, 0, 10, 10), MakeBox(10, 0, 20, 10)), 0);
}

TEST(NmsTest, DropsTheLowerOfTwoThatOverlap) {
  EXPECT_THAT(Scores({Make("dog", 0.5F, 1), Make("dog", 0.75F, 0)}, 0.5),
              ElementsAre(0.75F));
}

TEST(NmsTest, OtherClassesAndOtherFramesAreLeftAlone) {
  EXPECT_THAT(Scores({Make("dog", 0.5F, 0), Make("cat", 0.25F, 0),
                      Make("dog", 0.75F, 0, 1)},
                     0.5),
              ElementsAre(0.5F, 0.25F, 0.75F));
}

TEST(NmsTest, ABoxIsCutToThePicture) {
  Box box = MakeBox(-5, 2, 200, 300);
  ASSERT_TRUE(ClipBox(100, 50, box));
  EXPECT_EQ(box.x1(), 0);
  EXPECT_EQ(box.x2(), 100);
  EXPECT_EQ(box.y2(), 50);
  Box outside = MakeBox(120, 0, 130, 10);
  EXPECT_FALSE(ClipBox(100, 50, outside));
  Box no_number = MakeBox(0, 0, NAN, 10);
  EXPECT_FALSE(ClipBox(100, 50, no_number));
}

}  // namespace
}  // namespace camherd::inference
