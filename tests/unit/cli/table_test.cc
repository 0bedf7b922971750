// SPDX-License-Identifier: Apache-2.0
#include "services/cli/table.h"

#include <gtest/gtest.h>

namespace camherd::cli {
namespace {

Table Cameras() {
  Table table({"NAME", "FRAMES#", "REASON"});
  table.Add({{.text = "東門"}, {.text = "12"}, {.text = "no route to host"}});
  table.Add({{.text = "gate\n3"}, {.text = "7"}, {.text = ""}});
  return table;
}

TEST(TableTest, ColumnsLineUpAndNumbersStandAtTheRight) {
  EXPECT_EQ(Cameras().ToText(Console({})),
            "NAME       FRAMES  REASON\n"
            "東門           12  no route to host\n"
            "gate\\x0a3       7  -\n");
}

TEST(TableTest, OnATerminalTheLastColumnIsCut) {
  EXPECT_EQ(Cameras().ToText(Console({.columns = 30})),
            "NAME       FRAMES  REASON\n"
            "東門           12  no route t…\n"
            "gate\\x0a3       7  -\n");
}

TEST(TableTest, WithoutRowsTheTitlesRemain) {
  EXPECT_EQ(Table({"A", "B#"}).ToText(Console({})), "A  B\n");
}

}  // namespace
}  // namespace camherd::cli
