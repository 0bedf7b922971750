// SPDX-License-Identifier: Apache-2.0
#include "services/inference/shared_bitmap.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>

#include "tests/support/status_matchers.h"
#include "tests/unit/inference/fakes.h"

namespace camherd::inference {
namespace {

using ::camherd::inference::testing::MakeJpeg;
using ::camherd::testing::StatusIs;

class SharedBitmapTest : public ::testing::Test {
 protected:
  std::shared_ptr<const Bitmap> Decode(SharedBitmap* shared,
                                       const JpegDecodeOptions& options) {
    const auto bitmap =
        SharedBitmap::Decode({0, jpeg_, 1920, 1080, shared}, options);
    CAMHERD_EXPECT_OK(bitmap);
    return *bitmap;
  }

  const std::string jpeg_ = MakeJpeg(1920, 1080, 20, 90, 200);
  SharedBitmap::Budget budget_{int64_t{1} << 30};
};

TEST_F(SharedBitmapTest, WhoAsksForLessThanTheFirstGetsTheSamePixels) {
  SharedBitmap shared({640, 360}, budget_);
  const auto first = Decode(&shared, {.cover_width = 640, .cover_height = 360});
  EXPECT_EQ(first->width, 960);
  EXPECT_EQ(Decode(&shared, {.cover_width = 256, .cover_height = 144}), first);
  EXPECT_EQ(budget_.kept_bytes, 960 * 540 * 3);
}

TEST_F(SharedBitmapTest, TheFirstHasItDecodedAsLargeAsAnyoneWants) {
  SharedBitmap shared({640, 360}, budget_);
  const auto first = Decode(&shared, {.cover_width = 256, .cover_height = 144});
  EXPECT_EQ(first->width, 960);
  EXPECT_EQ(Decode(&shared, {.cover_width = 640, .cover_height = 360}), first);
}

TEST_F(SharedBitmapTest, WhoWantsItsFullSizeGetsNoLess) {
  SharedBitmap shared({640, 360}, budget_);
  EXPECT_EQ(Decode(&shared, {.cover_width = 640, .cover_height = 360})->width,
            960);
  const auto full = Decode(&shared, {});
  EXPECT_EQ(full->width, 1920);
  EXPECT_EQ(full->height, 1080);
  // Which serves all from now on.
  EXPECT_EQ(Decode(&shared, {.cover_width = 640, .cover_height = 360}), full);
  EXPECT_EQ(budget_.kept_bytes, 1920 * 1080 * 3);
}

TEST_F(SharedBitmapTest, TheOtherOrderOfChannelsIsThatOfADecoding) {
  SharedBitmap shared({1920, 1080}, budget_);
  const auto bgr = Decode(&shared, {.rgb = false});
  const auto rgb = Decode(&shared, {.rgb = true});
  const auto decoded = Decode(nullptr, {.rgb = true});
  EXPECT_FALSE(bgr->rgb);
  EXPECT_TRUE(rgb->rgb);
  EXPECT_TRUE(std::equal(rgb->pixels.get(), rgb->pixels.get() + 1920 * 1080 * 3,
                         decoded->pixels.get()));
  EXPECT_NE(rgb->pixels[0], bgr->pixels[0]);
  // What was decoded is still there.
  EXPECT_EQ(Decode(&shared, {.rgb = false}), bgr);
}

TEST_F(SharedBitmapTest, BeyondTheBudgetEachHasItDecoded) {
  SharedBitmap::Budget budget{1920 * 1080 * 3};
  SharedBitmap shared({1920, 1080}, budget);
  SharedBitmap other({1920, 1080}, budget);
  const auto first = Decode(&shared, {});
  EXPECT_EQ(Decode(&shared, {}), first);
  const auto second = Decode(&other, {});
  EXPECT_NE(Decode(&other, {}), second);
  EXPECT_EQ(budget.kept_bytes, budget.max_bytes);
}

TEST_F(SharedBitmapTest, GivesBackWhatItKept) {
  std::shared_ptr<const Bitmap> bitmap;
  {
    SharedBitmap shared({}, budget_);
    bitmap = Decode(&shared, {});
    EXPECT_GT(budget_.kept_bytes, 0);
  }
  EXPECT_EQ(budget_.kept_bytes, 0);
  // It may outlive it.
  EXPECT_EQ(bitmap->width, 1920);
}

TEST_F(SharedBitmapTest, WithoutOneEachHasItDecoded) {
  EXPECT_NE(Decode(nullptr, {}), Decode(nullptr, {}));
  EXPECT_EQ(budget_.kept_bytes, 0);
}

TEST_F(SharedBitmapTest, ABrokenPictureIsBrokenForAll) {
  SharedBitmap shared({}, budget_);
  const std::string cut = jpeg_.substr(0, jpeg_.size() / 2);
  for (int model = 0; model < 2; ++model) {
    EXPECT_THAT(SharedBitmap::Decode({0, cut, 1920, 1080, &shared}, {}),
                StatusIs(absl::StatusCode::kInvalidArgument));
  }
  EXPECT_EQ(budget_.kept_bytes, 0);
}

}  // namespace
}  // namespace camherd::inference
