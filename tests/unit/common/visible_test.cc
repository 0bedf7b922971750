// SPDX-License-Identifier: Apache-2.0
#include "services/common/visible.h"

#include <gtest/gtest.h>

namespace camherd {
namespace {

TEST(VisibleTest, ShowsWhatTurnsTheDirectionOfWritingOrIsNotSeen) {
  EXPECT_EQ(Visible("gate\u202e3"), "gate\\xe2\\x80\\xae3");
  EXPECT_EQ(Visible("\u061c\u200b\u2069\ufeff"),
            "\\xd8\\x9c\\xe2\\x80\\x8b\\xe2\\x81\\xa9\\xef\\xbb\\xbf");
  EXPECT_EQ(Visible("a\u0085b\u2028"), "a\\xc2\\x85b\\xe2\\x80\\xa8");
}

TEST(VisibleTest, LeavesAllElseAsItIs) {
  EXPECT_EQ(
      Visible("Tor 3, \u0928\u092e\u0938\u094d\u0924\u0947, \u00a0\n\xff"),
      "Tor 3, \u0928\u092e\u0938\u094d\u0924\u0947, \u00a0\n\xff");
  EXPECT_EQ(Visible(""), "");
}

}  // namespace
}  // namespace camherd
