// SPDX-License-Identifier: Apache-2.0
#include "services/cli/record_commands.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "services/cli/exit_code.h"

namespace camherd::cli {
namespace {

const absl::Time kNow = absl::FromUnixSeconds(1'785'579'300);

TEST(RecordCommandsTest, ATimeIsAnInstantADayOrHowLongAgo) {
  EXPECT_EQ(ParseWhen("--since", "2026-08-01T10:15:00Z", kNow).value(), kNow);
  EXPECT_EQ(ParseWhen("--since", "2026-08-01", kNow).value(),
            absl::FromUnixSeconds(1'785'542'400));
  EXPECT_EQ(ParseWhen("--since", "90s", kNow).value(),
            kNow - absl::Seconds(90));
  EXPECT_EQ(ParseWhen("--since", "2h", kNow).value(), kNow - absl::Hours(2));
  EXPECT_EQ(ParseWhen("--since", "7d", kNow).value(), kNow - absl::Hours(168));
}

TEST(RecordCommandsTest, WhatIsNoTimeIsWrongUsageThatNamesIt) {
  for (const char* text : {"yesterday", "", "h", "-2h", "2w", "1e3h"}) {
    const auto parsed = ParseWhen("--since", text, kNow);
    EXPECT_EQ(ExitCodeOf(parsed.status()), kWrongUsage) << text;
    EXPECT_THAT(std::string(parsed.status().message()),
                ::testing::HasSubstr("--since must be a time"));
  }
}

TEST(RecordCommandsTest, ComplaintsAndClassesOfARecordAreCounted) {
  v1::Record record;
  EXPECT_EQ(ComplaintsOf(record), "-");
  EXPECT_EQ(SeenIn(record), "");
  v1::RecordSection& animals = *record.add_sections();
  animals.set_name("stray_animal");
  animals.set_complaint(1);
  for (const char* name : {"dog", "cow", "dog"}) {
    animals.add_detections()->set_class_name(name);
  }
  record.add_sections()->set_name("pothole");
  EXPECT_EQ(ComplaintsOf(record), "stray_animal");
  EXPECT_EQ(SeenIn(record), "1 cow, 2 dog");
}

}  // namespace
}  // namespace camherd::cli
