// SPDX-License-Identifier: Apache-2.0
#include "services/inference/jpeg_decoder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/status_matchers.h"
#include "tests/unit/inference/fakes.h"

namespace camherd::inference {
namespace {

using ::camherd::inference::testing::MakeJpeg;
using ::camherd::testing::StatusIs;

constexpr int64_t kPixels = 1 << 20;

TEST(JpegDecoderTest, ReadsTheSizeFromTheHeader) {
  const auto size = ReadJpegHeader(MakeJpeg(640, 360), kPixels);
  CAMHERD_ASSERT_OK(size);
  EXPECT_EQ(size->width, 640);
  EXPECT_EQ(size->height, 360);
}

TEST(JpegDecoderTest, RefusesWhatIsNoJpegOrTooLarge) {
  EXPECT_THAT(ReadJpegHeader("not a picture", kPixels),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(ReadJpegHeader("", kPixels),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(ReadJpegHeader(MakeJpeg(2000, 2000), kPixels),
              StatusIs(absl::StatusCode::kOutOfRange));
}

TEST(JpegDecoderTest, DecodesToTheOrderAskedFor) {
  const std::string blue = MakeJpeg(64, 48, 200, 100, 20);
  const auto bgr = DecodeJpeg(blue, {});
  CAMHERD_ASSERT_OK(bgr);
  EXPECT_EQ(bgr->width, 64);
  EXPECT_EQ(bgr->height, 48);
  EXPECT_NEAR(bgr->pixels[0], 200, 3);
  EXPECT_NEAR(bgr->pixels[2], 20, 3);
  const auto rgb = DecodeJpeg(blue, {.rgb = true});
  CAMHERD_ASSERT_OK(rgb);
  EXPECT_NEAR(rgb->pixels[0], 20, 3);
  EXPECT_NEAR(rgb->pixels[2], 200, 3);
}

TEST(JpegDecoderTest, DecodesAtTheLeastScaleThatCovers) {
  const std::string jpeg = MakeJpeg(1920, 1080);
  const auto width = [&](int cover_width, int cover_height) {
    return DecodeJpeg(
               jpeg, {.cover_width = cover_width, .cover_height = cover_height})
        ->width;
  };
  EXPECT_EQ(width(640, 360), 960);
  EXPECT_EQ(width(960, 540), 960);
  EXPECT_EQ(width(961, 540), 1920);
  EXPECT_EQ(width(256, 144), 480);
  EXPECT_EQ(width(100, 60), 240);
  EXPECT_EQ(width(4000, 3000), 1920);
  EXPECT_EQ(width(0, 0), 1920);
}

TEST(JpegDecoderTest, APictureCutShortIsBroken) {
  const std::string jpeg = MakeJpeg(640, 480);
  EXPECT_THAT(
      DecodeJpeg(absl::string_view(jpeg).substr(0, jpeg.size() / 2), {}),
      StatusIs(absl::StatusCode::kInvalidArgument));
}

}  // namespace
}  // namespace camherd::inference
