// SPDX-License-Identifier: Apache-2.0
#include "services/capture/luma.h"

#include <gtest/gtest.h>

#include <vector>

namespace camherd::capture {
namespace {

TEST(LumaTest, TheSumDoesNotOverflowOnLongWhiteRows) {
  const std::vector<uint8_t> white(8001, 255);
  EXPECT_EQ(SumOfSamples(white.data(), 8001), 8001u * 255u);
}

TEST(LumaTest, TheMeanLeavesOutWhatLiesBetweenTheRows) {
  // Rows of 3 samples, 2 bytes of padding.
  const std::vector<uint8_t> plane = {10, 20, 30, 255, 255,
                                      40, 50, 60, 255, 255};
  EXPECT_DOUBLE_EQ(MeanOfPlane(plane.data(), 5, 3, 2), 35.0);
}

}  // namespace
}  // namespace camherd::capture
