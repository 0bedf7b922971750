// SPDX-License-Identifier: Apache-2.0
#include "services/common/watch_position.h"

#include <gtest/gtest.h>

namespace camherd {
namespace {

TEST(WatchPositionTest, ItsTokenIsReadBackAsItself) {
  WatchPosition position = WatchPosition::NewRun();
  EXPECT_NE(position.boot, WatchPosition::NewRun().boot);
  position.sequence = 123456789012345678;
  const auto read = WatchPosition::Parse(position.ToToken());
  ASSERT_TRUE(read.has_value());
  EXPECT_EQ(*read, position);
  EXPECT_EQ(WatchPosition().ToToken(), "");
}

TEST(WatchPositionTest, WhatIsNoTokenIsNone) {
  for (const char* text :
       {"", "-", "0123456789abcdef", "0123456789abcdef-", "0123456789abcdef-x",
        "0123456789abcdef--1", "0123456789abcdefg-1", "0123456789abcdeg-1",
        "0123456789abcdef-1234567890123456789", " 0123456789abcdef-1"}) {
    EXPECT_FALSE(WatchPosition::Parse(text).has_value()) << text;
  }
}

}  // namespace
}  // namespace camherd
