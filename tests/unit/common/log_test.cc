// SPDX-License-Identifier: Apache-2.0
#include "services/common/log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "tests/support/status_matchers.h"

namespace camherd {
namespace {

using ::camherd::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::MatchesRegex;
using ::testing::Not;

class LogTest : public ::testing::Test {
 protected:
  void SetUp() override { InitLog("test"); }
  void TearDown() override { InitLog("test"); }

  // What `log` writes to standard error.
  template <typename F>
  static std::string Written(F log) {
    ::testing::internal::CaptureStderr();
    log();
    return ::testing::internal::GetCapturedStderr();
  }

  // The line without its time.
  static std::string Line(absl::string_view message, const LogFields& fields) {
    const std::string line = Written([&] { LogInfo(message, fields); });
    EXPECT_THAT(line, MatchesRegex("[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]"
                                   "{2}:[0-9]{2}[.][0-9]{3}Z [^\n]*\n"));
    return std::string(
        absl::StripSuffix(line.substr(line.find(' ') + 1), "\n"));
  }
};

TEST_F(LogTest, ALineIsTimeLevelServiceMessageAndFields) {
  EXPECT_EQ(Line("stream lost", {{"stream", "gate-3"}, {"code", "NOT_FOUND"}}),
            "INFO test msg=\"stream lost\" stream=gate-3 code=NOT_FOUND");
  EXPECT_EQ(Line("serving", {{"grpc", "127.0.0.1:50051"}}),
            "INFO test msg=serving grpc=127.0.0.1:50051");
}

TEST_F(LogTest, TakesNumbersTruthValuesAndStatuses) {
  EXPECT_EQ(Line("m", {{"int", 3},
                       {"double", 0.5},
                       {"bool", true},
                       {"status", absl::NotFoundError("no x")}}),
            "INFO test msg=m int=3 double=0.5 bool=true "
            "status=\"NOT_FOUND: no x\"");
}

TEST_F(LogTest, QuotesValuesThatWouldBeReadWrongly) {
  EXPECT_EQ(Line("m", {{"empty", ""},
                       {"quote", "a\"b"},
                       {"equals", "a=b"},
                       {"backslash", "a\\b"}}),
            "INFO test msg=m empty=\"\" quote=\"a\\\"b\" equals=\"a=b\" "
            "backslash=\"a\\\\b\"");
}

TEST_F(LogTest, OneEventIsOneLineWhateverItsValuesHold) {
  EXPECT_EQ(Line("m", {{"v", "a\nERROR test msg=forged\r\t\x1b[31m\x7f"}}),
            "INFO test msg=m v=\"a\\nERROR test msg=forged\\r\\t\\u001b[31m"
            "\\u007f\"");
  // NEL, LINE SEPARATOR.
  EXPECT_EQ(Line("m", {{"v", "\xc2\x85\xe2\x80\xa8"}}),
            "INFO test msg=m v=\"\\u0085\\u2028\"");
  // Nor can one value pose as another.
  EXPECT_EQ(Line("m", {{"v", "gate\u202e1\u2066\u200b\u061c"}}),
            "INFO test msg=m v=\"gate\\u202e1\\u2066\\u200b\\u061c\"");
}

TEST_F(LogTest, KeepsUtf8AndReplacesWhatIsNone) {
  EXPECT_EQ(Line("m", {{"v", "K\xc3\xb6ln \xf0\x9f\x93\xb7"}}),
            "INFO test msg=m v=\"K\xc3\xb6ln \xf0\x9f\x93\xb7\"");
  EXPECT_EQ(Line("m", {{"v", "a\xff\xc0\x80\xed\xa0\x80\xe2\x82"}}),
            "INFO test msg=m v=\"a\\ufffd\\ufffd\\ufffd\\ufffd\\ufffd\\ufffd"
            "\\ufffd\\ufffd\"");
}

TEST_F(LogTest, NoCredentialOfAUrlIsWritten) {
  EXPECT_EQ(Line("cannot open rtsp://u:canary@cam/1",
                 {{"url", "rtsp://u:canary@cam/?pwd=canary"}}),
            "INFO test msg=\"cannot open rtsp://***:***@cam/1\" "
            "url=\"rtsp://***:***@cam/?pwd=***\"");
}

TEST_F(LogTest, WritesOnlyTheAskedLevelAndAbove) {
  const auto all = [] {
    LogDebug("d");
    LogInfo("i");
    LogWarning("w");
    LogError("e");
  };
  EXPECT_THAT(Written(all), AllOf(Not(HasSubstr("msg=d")), HasSubstr("msg=i"),
                                  HasSubstr("WARNING test msg=w"),
                                  HasSubstr("ERROR test msg=e")));
  CAMHERD_ASSERT_OK(SetLogLevel("error"));
  EXPECT_THAT(Written(all), AllOf(Not(HasSubstr("msg=w")), HasSubstr("msg=e")));
  CAMHERD_ASSERT_OK(SetLogLevel("debug"));
  EXPECT_THAT(Written(all), HasSubstr("DEBUG test msg=d"));
}

TEST_F(LogTest, AnUnknownLevelIsRefusedByName) {
  EXPECT_THAT(SetLogLevel("loud"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "log_level must be one of [debug, info, warning, "
                       "error], got \"loud\""));
}

TEST_F(LogTest, JsonLinesHoldTheSame) {
  InitLog("test", LogLevel::kInfo, LogFormat::kJson);
  const std::string line = Written([] {
    LogInfo("a \"b\"", {{"n", 3}, {"url", "rtsp://u:canary@h/"}});
  });
  EXPECT_THAT(
      line,
      MatchesRegex(
          "\\{\"time\":\"[-0-9T:.]*Z\",\"level\":\"INFO\",\"service\":\"test\","
          "\"msg\":\"a \\\\\"b\\\\\"\",\"n\":\"3\","
          "\"url\":\"rtsp://[*]{3}:[*]{3}@h/\"\\}\n"));
}

TEST_F(LogTest, LinesOfManyThreadsDoNotMix) {
  const std::string text = Written([] {
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([t] {
        for (int i = 0; i < 50; ++i) {
          LogInfo("m", {{"v", std::string(200, static_cast<char>('a' + t))}});
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
  });
  int lines = 0;
  for (const absl::string_view line :
       absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    const absl::string_view value = line.substr(line.find("v=") + 2);
    EXPECT_EQ(value, std::string(200, value.front()));
    ++lines;
  }
  EXPECT_EQ(lines, 200);
}

TEST_F(LogTest, NothingIsWrittenBelowTheLevel) {
  EXPECT_THAT(Written([] { LogDebug("d"); }), IsEmpty());
}

TEST(LogDeathTest, FatalWritesTheBrokenInvariantAndAborts) {
  EXPECT_DEATH(LogFatal("the moon is gone", {{"since", 3}}),
               "FATAL .* msg=\"the moon is gone\" since=3");
}

}  // namespace
}  // namespace camherd
