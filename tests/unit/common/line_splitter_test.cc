// SPDX-License-Identifier: Apache-2.0
#include "services/common/line_splitter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace camherd {
namespace {

using ::testing::ElementsAre;

TEST(LineSplitterTest, CutsAtEveryEndOfLineAndKeepsTheRest) {
  std::vector<std::string> lines;
  const auto add = [&](const std::string& line) { lines.push_back(line); };
  LineSplitter splitter;
  splitter.Add("one\r\ntw", add);
  splitter.Add("o\n10%\r20%\rlast\x1b", add);
  EXPECT_THAT(lines, ElementsAre("one", "two", "10%", "20%"));
  splitter.Finish(add);
  EXPECT_EQ(lines.back(), "last ");
}

TEST(LineSplitterTest, WhatIsNoUtf8IsReplaced) {
  std::vector<std::string> lines;
  LineSplitter splitter;
  splitter.Add("T\xFCr\n",
               [&](const std::string& line) { lines.push_back(line); });
  EXPECT_THAT(lines, ElementsAre("T\uFFFDr"));
}

TEST(LineSplitterTest, CutsALineThatIsTooLong) {
  std::vector<std::string> lines;
  LineSplitter splitter;
  splitter.Add(std::string(100000, 'x') + "\n",
               [&](const std::string& line) { lines.push_back(line); });
  ASSERT_EQ(lines.size(), 1U);
  EXPECT_EQ(lines[0].size(), 4096U);
}

}  // namespace
}  // namespace camherd
