// SPDX-License-Identifier: Apache-2.0
#include "gateway/route.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace camherd::gateway {
namespace {

using ::testing::ElementsAre;

TEST(RouteTest, BracesTakeOneSegment) {
  std::vector<std::string> values;
  EXPECT_TRUE(MatchesTemplate("/a/x/b/y", "/a/{one}/b/{two}", &values));
  EXPECT_THAT(values, ElementsAre("x", "y"));
  EXPECT_FALSE(MatchesTemplate("/a/x/y/b", "/a/{one}/b", &values));
  EXPECT_FALSE(MatchesTemplate("/a//b", "/a/{one}/b", &values));
  EXPECT_FALSE(MatchesTemplate("/a/x/b/", "/a/{one}/b", &values));
  EXPECT_TRUE(MatchesTemplate("/", "/", &values));
}

}  // namespace
}  // namespace camherd::gateway
