// SPDX-License-Identifier: Apache-2.0
#include "services/inference/letterbox.h"

#include <gtest/gtest.h>

namespace camherd::inference {
namespace {

TEST(LetterboxTest, FitsAWidePictureIntoTheMiddleOfASquare) {
  const Letterbox box = MakeLetterbox(1920, 1080, 640, 640, {});
  EXPECT_EQ(box.width, 640);
  EXPECT_EQ(box.height, 360);
  EXPECT_EQ(box.left, 0);
  EXPECT_EQ(box.top, 140);
  EXPECT_DOUBLE_EQ(box.scale, 1.0 / 3);
}

TEST(LetterboxTest, PutsTheLargerHalfOfAnOddRestRightAndBelow) {
  const Letterbox box = MakeLetterbox(427, 640, 640, 640, {});
  EXPECT_EQ(box.width, 427);
  EXPECT_EQ(box.left, 106);
}

TEST(LetterboxTest, EnlargesASmallPicture) {
  const Letterbox box = MakeLetterbox(64, 48, 640, 640, {});
  EXPECT_EQ(box.width, 640);
  EXPECT_EQ(box.height, 480);
}

TEST(LetterboxTest, APictureAtTheTopLeftLeavesTheRestRightAndBelow) {
  InputSpec input;
  input.letterbox = "top_left";
  const Letterbox box = MakeLetterbox(1080, 1920, 416, 416, input);
  EXPECT_EQ(box.left, 0);
  EXPECT_EQ(box.top, 0);
  EXPECT_EQ(box.width, 234);
  EXPECT_EQ(box.height, 416);
}

TEST(LetterboxTest, NoSideIsLost) {
  const Letterbox box = MakeLetterbox(8000, 1, 640, 640, {});
  EXPECT_EQ(box.width, 640);
  EXPECT_EQ(box.height, 1);
}

TEST(LetterboxTest, BoxesGoBackToThePicture) {
  const Letterbox letterbox = MakeLetterbox(1920, 1080, 640, 640, {});
  camherd::v1::Box box;
  box.set_x1(0);
  box.set_y1(140);
  box.set_x2(320);
  box.set_y2(500);
  letterbox.ToPicture(box);
  EXPECT_FLOAT_EQ(box.x1(), 0);
  EXPECT_FLOAT_EQ(box.y1(), 0);
  EXPECT_FLOAT_EQ(box.x2(), 960);
  EXPECT_FLOAT_EQ(box.y2(), 1080);
}

TEST(LetterboxTest, TheLeastInputIsARectangleOfWholeStrides) {
  EXPECT_EQ(MinimalInput(1920, 1080, {}, 32), (InputSize{640, 384}));
  EXPECT_EQ(MinimalInput(1080, 1920, {}, 32), (InputSize{384, 640}));
  EXPECT_EQ(MinimalInput(640, 480, {}, 32), (InputSize{640, 480}));
  EXPECT_EQ(MinimalInput(500, 500, {}, 32), (InputSize{640, 640}));
  EXPECT_EQ(MinimalInput(10000, 10, {}, 32), (InputSize{640, 32}));
}

}  // namespace
}  // namespace camherd::inference
