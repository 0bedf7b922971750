// SPDX-License-Identifier: Apache-2.0
#include "services/common/utf8.h"

#include <gtest/gtest.h>

namespace camherd {
namespace {

TEST(Utf8Test, TakesSequencesOfOneToFourBytes) {
  EXPECT_EQ(Utf8Length("a"), 1U);
  EXPECT_EQ(Utf8Length("\u00fc"), 2U);
  EXPECT_EQ(Utf8Length("\u20ac"), 3U);
  EXPECT_EQ(Utf8Length("\U0001F415"), 4U);
  EXPECT_TRUE(IsUtf8("a\u00fc\u20ac\U0001F415"));
  EXPECT_TRUE(IsUtf8(""));
}

TEST(Utf8Test, RefusesWhatIsMalformed) {
  for (const char* text : {"\xFC", "\x80", "\xC3", "\xE2\x82", "\xC0\x80",
                           "\xE0\x80\x80", "\xED\xA0\x80", "\xF0\x80\x80\x80",
                           "\xF4\x90\x80\x80", "\xF5\x80\x80\x80"}) {
    EXPECT_EQ(Utf8Length(text), 0U);
    EXPECT_FALSE(IsUtf8(text));
  }
}

TEST(Utf8Test, ReplacesEachByteThatIsInNoSequence) {
  EXPECT_EQ(ToUtf8("T\xFCr"), "T\uFFFDr");
  EXPECT_EQ(ToUtf8("ab\xE2\x82"), "ab\uFFFD\uFFFD");
  EXPECT_EQ(ToUtf8("T\u00fcr"), "T\u00fcr");
}

}  // namespace
}  // namespace camherd
