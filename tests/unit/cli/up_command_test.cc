// SPDX-License-Identifier: Apache-2.0
#include "services/cli/up_command.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <time.h>

namespace camherd::cli {
namespace {

TEST(UpCommandTest, ALogLineIsReadable) {
  setenv("TZ", "UTC", 1);
  tzset();
  EXPECT_EQ(ReadableLogLine("capture",
                            "2026-08-01T10:15:00.123Z INFO capture "
                            "msg=\"stream lost\" stream=gate-3 n=1"),
            "10:15:00 capture     stream lost stream=gate-3 n=1");
  EXPECT_EQ(ReadableLogLine("gateway",
                            "2026-08-01T10:15:00.123Z WARNING gateway "
                            "msg=slow what=\"a \\\"b\\\"\""),
            "10:15:00 gateway     WARNING slow what=\"a \\\"b\\\"\"");
}

TEST(UpCommandTest, WhatIsNoLogLineStaysAsItIs) {
  EXPECT_EQ(ReadableLogLine("capture", "[h264] no frame!\x1b[2J"),
            "         capture     [h264] no frame!\\x1b[2J");
  EXPECT_EQ(ReadableLogLine("capture", "{\"msg\":\"serving\"}"),
            "         capture     {\"msg\":\"serving\"}");
}

}  // namespace
}  // namespace camherd::cli
