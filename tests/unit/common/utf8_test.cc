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

TEST(Utf8Test, PlainTextHoldsNothingThatPosesAsAnother) {
  for (const char* text : {"", "North gate", "T\u00fcr", "a\tb\r\nc", "\u00a0",
                           "\u2027\u202f", "\u0915\u094d\u200d\u0937",
                           "\u200f\u05d0", "\u2065\u206a", "\U0001F415"}) {
    EXPECT_TRUE(IsPlainText(text)) << text;
  }
  for (const char* text :
       {"a\x1b", "\x07", "a\x7f", "\u0080", "\u0085", "\u009f", "a\u2028",
        "\u2029", "\u202a", "a\u202eb", "\u2066", "\u2069", "a\xff"}) {
    EXPECT_FALSE(IsPlainText(text)) << text;
  }
  EXPECT_FALSE(IsPlainText(absl::string_view("a\0b", 3)));
}

}  // namespace
}  // namespace camherd
