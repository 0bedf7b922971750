// SPDX-License-Identifier: Apache-2.0
#include "services/capture/brightness_ranker.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

namespace camherd::capture {
namespace {

using ::testing::ElementsAre;

v1::FrameInfo Frame(int64_t seq, double luma) {
  v1::FrameInfo frame;
  frame.set_frame_seq(seq);
  frame.set_mean_luma(luma);
  return frame;
}

std::vector<int64_t> Ranked(const std::vector<double>& lumas) {
  BrightnessRanker ranker;
  int64_t seq = 0;
  for (const double luma : lumas) ranker.Accept(Frame(++seq, luma));
  std::vector<int64_t> seqs;
  for (const v1::FrameInfo& frame : ranker.frames()) {
    seqs.push_back(frame.frame_seq());
  }
  return seqs;
}

TEST(BrightnessRankerTest, KeepsTheNineBrightestInOrder) {
  EXPECT_THAT(Ranked({1, 12, 3, 11, 5, 10, 7, 8, 9, 6, 4, 2}),
              ElementsAre(2, 4, 6, 9, 8, 7, 10, 5, 11));
}

TEST(BrightnessRankerTest, OfEquallyBrightFramesTheEarlierStays) {
  EXPECT_THAT(Ranked({5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5}),
              ElementsAre(1, 2, 3, 4, 5, 6, 7, 8, 9));
}

TEST(BrightnessRankerTest, NamesTheFrameThatLeaves) {
  BrightnessRanker ranker;
  for (int seq = 1; seq <= 9; ++seq) ranker.Accept(Frame(seq, 10 * seq));
  EXPECT_EQ(ranker.Consider(Frame(10, 55)).displaced_seq, 1);
  EXPECT_TRUE(ranker.Consider(Frame(10, 55)).enters);
  EXPECT_FALSE(ranker.Consider(Frame(10, 10)).enters);
}

TEST(BrightnessRankerTest, AgreesWithSortingAllFrames) {
  std::mt19937 random(7);
  std::vector<double> lumas;
  for (int i = 0; i < 500; ++i) lumas.push_back(random() % 60);
  std::vector<int64_t> expected(lumas.size());
  for (size_t i = 0; i < expected.size(); ++i) expected[i] = i + 1;
  std::stable_sort(expected.begin(), expected.end(), [&](int64_t a, int64_t b) {
    return lumas[a - 1] > lumas[b - 1];
  });
  expected.resize(9);
  EXPECT_EQ(Ranked(lumas), expected);
}

}  // namespace
}  // namespace camherd::capture
