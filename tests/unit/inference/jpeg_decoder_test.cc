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

TEST(JpegDecoderTest, DecodesToBgr) {
  const auto picture = DecodeJpeg(MakeJpeg(64, 48, 200), kPixels);
  CAMHERD_ASSERT_OK(picture);
  EXPECT_EQ(picture->pixels.size(), 64U * 48 * 3);
  EXPECT_NEAR(picture->pixels[0], 200, 2);
}

TEST(JpegDecoderTest, APictureCutShortIsBroken) {
  const std::string jpeg = MakeJpeg(640, 480);
  EXPECT_THAT(
      DecodeJpeg(absl::string_view(jpeg).substr(0, jpeg.size() / 2), kPixels),
      StatusIs(absl::StatusCode::kInvalidArgument));
}

}  // namespace
}  // namespace camherd::inference
