// SPDX-License-Identifier: Apache-2.0
#include "services/capture/luma_meter.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

namespace camherd::capture {
namespace {

v1::PictureLook Look(const std::vector<std::vector<uint8_t>>& rows) {
  LumaMeter meter;
  for (const std::vector<uint8_t>& row : rows) {
    meter.AddRow(row.data(), static_cast<int>(row.size()));
  }
  return meter.Look();
}

TEST(LumaMeterTest, APlainPictureHasItsValueAndNothingElse) {
  const v1::PictureLook look = Look({std::vector<uint8_t>(64, 100)});
  EXPECT_DOUBLE_EQ(look.mean(), 100);
  EXPECT_DOUBLE_EQ(look.contrast(), 0);
  EXPECT_DOUBLE_EQ(look.sharpness(), 0);
  EXPECT_DOUBLE_EQ(look.dark_share(), 0);
  EXPECT_DOUBLE_EQ(look.clipped_share(), 0);
}

TEST(LumaMeterTest, CountsWhatIsDarkAndWhatIsClipped) {
  const v1::PictureLook look =
      Look({std::vector<uint8_t>(64, 10), std::vector<uint8_t>(64, 255),
            std::vector<uint8_t>(64, 255), std::vector<uint8_t>(64, 100)});
  EXPECT_DOUBLE_EQ(look.dark_share(), 0.25);
  EXPECT_DOUBLE_EQ(look.clipped_share(), 0.5);
  EXPECT_DOUBLE_EQ(look.mean(), (10 + 255 + 255 + 100) / 4.0);
}

TEST(LumaMeterTest, ALineIsSharpAndASlopeIsNot) {
  std::vector<uint8_t> line(64, 0);
  line[9] = 200;  // One of those that are looked at.
  EXPECT_DOUBLE_EQ(Look({line}).sharpness(), 400.0 * 400.0 / 8);
  std::vector<uint8_t> slope;
  for (int i = 0; i < 64; ++i) slope.push_back(static_cast<uint8_t>(3 * i));
  EXPECT_DOUBLE_EQ(Look({slope}).sharpness(), 0);
  EXPECT_GT(Look({slope}).contrast(), 50);
}

TEST(LumaMeterTest, TheFingerprintIsThePictures) {
  std::vector<uint8_t> other(64, 100);
  other[1] = 101;
  EXPECT_EQ(Look({std::vector<uint8_t>(64, 100)}).fingerprint(),
            Look({std::vector<uint8_t>(64, 100)}).fingerprint());
  EXPECT_NE(Look({std::vector<uint8_t>(64, 100)}).fingerprint(),
            Look({other}).fingerprint());
}

TEST(LumaMeterTest, PicturesTooNarrowToLookAtGiveNothing) {
  EXPECT_EQ(Look({{}, {1}, {1, 2}}).mean(), 0);
  EXPECT_EQ(Look({}).fingerprint(), 0);
}

}  // namespace
}  // namespace camherd::capture
