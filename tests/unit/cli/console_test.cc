// SPDX-License-Identifier: Apache-2.0
#include "services/cli/console.h"

#include <gtest/gtest.h>

namespace camherd::cli {
namespace {

TEST(ConsoleTest, NothingThatATerminalWouldObeyIsPrintable) {
  EXPECT_EQ(Printable("gate\x1b[2J\n\t\x7f"), "gate\\x1b[2J\\x0a\\x09\\x7f");
  EXPECT_EQ(Printable("gate\u202e3"), "gate\\xe2\\x80\\xae3");
  EXPECT_EQ(Printable("a\u009b31mb"), "a\\xc2\\x9b31mb");
  EXPECT_EQ(Printable("broken\xff\xe2\x82"), "broken\\xff\\xe2\\x82");
  EXPECT_EQ(Printable("Tor 3, नमस्ते"), "Tor 3, नमस्ते");
}

TEST(ConsoleTest, AWideCharacterTakesTwoColumns) {
  EXPECT_EQ(Width("gate"), 4);
  EXPECT_EQ(Width("für"), 3);
  EXPECT_EQ(Width("e\u0301"), 1);
  EXPECT_EQ(Width("東門"), 4);
}

TEST(ConsoleTest, WhatIsTooLongIsCutAndSaysSo) {
  EXPECT_EQ(Cut("north gate", 10), "north gate");
  EXPECT_EQ(Cut("north gate", 6), "north…");
  EXPECT_EQ(Cut("東門東門", 6), "東門…");
  EXPECT_EQ(Cut("gate", 0), "");
}

TEST(ConsoleTest, AnAgeHasTheUnitThatFits) {
  EXPECT_EQ(ShortAge(absl::Seconds(-1)), "-");
  EXPECT_EQ(ShortAge(absl::Seconds(119)), "119 s");
  EXPECT_EQ(ShortAge(absl::Seconds(120)), "2 min");
  EXPECT_EQ(ShortAge(absl::Minutes(119)), "119 min");
  EXPECT_EQ(ShortAge(absl::Hours(47)), "47 h");
  EXPECT_EQ(ShortAge(absl::Hours(49)), "2 d");
}

TEST(ConsoleTest, BytesAndNumbersAreAsPeopleWriteThem) {
  EXPECT_EQ(ShortBytes(999), "999 B");
  EXPECT_EQ(ShortBytes(1234567), "1.2 MB");
  EXPECT_EQ(ShortNumber(3), "3");
  EXPECT_EQ(ShortNumber(26.4499), "26.4499");
  EXPECT_EQ(ShortNumber(0.1), "0.1");
}

TEST(ConsoleTest, ColoursAreForTerminals) {
  EXPECT_EQ(Console({.colour_out = true}).Paint(Colour::kRed, "x"),
            "\x1b[31mx\x1b[0m");
  EXPECT_EQ(Console({.colour_out = false}).Paint(Colour::kRed, "x"), "x");
}

}  // namespace
}  // namespace camherd::cli
