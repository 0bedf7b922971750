// SPDX-License-Identifier: Apache-2.0
#include "services/capture/jpeg_draw.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <opencv2/imgcodecs.hpp>
#include <string>
#include <vector>

#include "tests/support/status_matchers.h"

namespace camherd::capture {
namespace {

using ::camherd::testing::StatusIs;
using ::testing::HasSubstr;

// Black on the left, white on the right.
std::string Halves(int width, int height) {
  cv::Mat picture(height, width, CV_8UC3, cv::Scalar::all(0));
  picture.colRange(width / 2, width).setTo(cv::Scalar::all(255));
  std::vector<unsigned char> bytes;
  cv::imencode(".jpg", picture, bytes);
  return {bytes.begin(), bytes.end()};
}

cv::Mat Decoded(const std::string& jpeg) {
  return cv::imdecode(std::vector<unsigned char>(jpeg.begin(), jpeg.end()),
                      cv::IMREAD_COLOR);
}

v1::Detection Dog(float x1, float y1, float x2, float y2) {
  v1::Detection dog;
  dog.set_class_name("dog");
  dog.mutable_box()->set_x1(x1);
  dog.mutable_box()->set_y1(y1);
  dog.mutable_box()->set_x2(x2);
  dog.mutable_box()->set_y2(y2);
  return dog;
}

int Brightest(const cv::Mat& picture, int x, int y) {
  const auto pixel = picture.at<cv::Vec3b>(y, x);
  return std::max({pixel[0], pixel[1], pixel[2]});
}

TEST(JpegDrawTest, LeavesThePictureAsItIsWhereNothingIsWanted) {
  const std::string jpeg = Halves(640, 360);
  EXPECT_EQ(DrawJpeg(jpeg, {}, 0).value(), jpeg);
  EXPECT_EQ(DrawJpeg(jpeg, {}, 640).value(), jpeg);
}

TEST(JpegDrawTest, MakesItAsWideAsAskedAndKeepsItsShape) {
  const std::string jpeg = Halves(640, 360);
  for (const int width : {16, 33, 79, 80, 81, 160, 320, 500, 639, 641, 1280}) {
    const cv::Mat picture = Decoded(DrawJpeg(jpeg, {}, width).value());
    EXPECT_EQ(picture.cols, width);
    EXPECT_EQ(picture.rows, std::lround(360.0 * width / 640)) << width;
    EXPECT_LT(Brightest(picture, width / 4, 1), 20) << width;
    EXPECT_GT(Brightest(picture, width * 3 / 4, 1), 235) << width;
  }
  // Of one line at the least.
  EXPECT_EQ(Decoded(DrawJpeg(Halves(4000, 16), {}, 16).value()).rows, 1);
}

TEST(JpegDrawTest, DrawsFramesAtTheScaleOfThePicture) {
  const std::string jpeg = Halves(640, 360);
  for (const int width : {0, 320, 1280}) {
    const double scale = width == 0 ? 1 : width / 640.0;
    const cv::Mat picture =
        Decoded(DrawJpeg(jpeg, {Dog(40, 60, 240, 200)}, width).value());
    const auto at = [&](int x, int y) {
      return Brightest(picture, static_cast<int>(x * scale),
                       static_cast<int>(y * scale));
    };
    EXPECT_GT(at(40, 130), 60) << width;
    EXPECT_GT(at(140, 60), 60) << width;
    EXPECT_LT(at(140, 130), 30) << width;
    EXPECT_LT(at(20, 130), 30) << width;
  }
}

TEST(JpegDrawTest, ABoxBeyondThePictureHarmsNothing) {
  const std::string jpeg = Halves(64, 36);
  const auto far = std::numeric_limits<float>::max();
  for (const v1::Detection& dog :
       {Dog(-50, -50, 200, 200), Dog(60, 30, 64, 36), Dog(100, 100, 200, 200),
        Dog(-far, -far, far, far), Dog(30, 20, 10, 5), Dog(10, 10, 10, 10)}) {
    EXPECT_EQ(Decoded(DrawJpeg(jpeg, {dog}, 0).value()).cols, 64);
  }
}

TEST(JpegDrawTest, RefusesWhatIsTooLargeOrNoPicture) {
  EXPECT_THAT(
      DrawJpeg(Halves(16, 160), {}, 7680),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("got 7680")));
  EXPECT_THAT(DrawJpeg("picture", {}, 320),
              StatusIs(absl::StatusCode::kDataLoss));
  EXPECT_THAT(DrawJpeg("", {}, 0), StatusIs(absl::StatusCode::kDataLoss));
}

}  // namespace
}  // namespace camherd::capture
