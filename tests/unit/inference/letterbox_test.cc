// SPDX-License-Identifier: Apache-2.0
#include "services/inference/letterbox.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <opencv2/core.hpp>
#include <opencv2/imgproc.hpp>
#include <utility>
#include <vector>

#include "services/inference/kernels/detection_kernels.h"

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

// The pixels of every engine are the same.
TEST(LetterboxTest, TheKernelsScaleAsOpenCvDoesButForRounding) {
  constexpr int kSide = 320;
  for (const auto& [width, height] :
       {std::pair{960, 540}, {333, 517}, {64, 48}, {320, 180}, {1, 1}}) {
    cv::Mat pixels(height, width, CV_8UC3);
    cv::randu(pixels, 0, 256);
    const double scale = static_cast<double>(kSide) /
                         static_cast<double>(std::max(width, height));
    const cv::Size inner(std::max(1, static_cast<int>(width * scale)),
                         std::max(1, static_cast<int>(height * scale)));
    cv::Mat scaled;
    cv::resize(pixels, scaled, inner, 0, 0, cv::INTER_LINEAR);
    const PlacedPicture picture{pixels.data, width,       height,      0,
                                0,           inner.width, inner.height};
    std::vector<float> input(3 * kSide * kSide);
    LetterboxOnHost({&picture, 1}, {kSide, kSide, 114, 1}, input.data());
    for (int y = 0; y < inner.height; ++y) {
      for (int x = 0; x < inner.width; ++x) {
        for (int c = 0; c < 3; ++c) {
          const float got =
              input[static_cast<size_t>((c * kSide + y) * kSide + x)];
          ASSERT_LE(std::fabs(got - scaled.at<cv::Vec3b>(y, x)[c]), 1)
              << width << "x" << height << " at " << x << ", " << y;
        }
      }
    }
  }
}

}  // namespace
}  // namespace camherd::inference
