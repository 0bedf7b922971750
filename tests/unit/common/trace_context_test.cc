// SPDX-License-Identifier: Apache-2.0
#include "services/common/trace_context.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>
#include <string>

#include "absl/strings/str_cat.h"

namespace camherd {
namespace {

using ::testing::MatchesRegex;

constexpr char kTrace[] = "4bf92f3577b34da6a3ce929d0e0e4736";
constexpr char kSpan[] = "00f067aa0ba902b7";

std::string Header(const std::string& rest = "-01") {
  return absl::StrCat("00-", kTrace, "-", kSpan, rest);
}

TEST(TraceContextTest, ReadsAndWritesAHeader) {
  const std::optional<TraceContext> sampled = TraceContext::Parse(Header());
  ASSERT_TRUE(sampled.has_value());
  EXPECT_EQ(sampled->trace_id, kTrace);
  EXPECT_EQ(sampled->span_id, kSpan);
  EXPECT_TRUE(sampled->sampled);
  EXPECT_EQ(sampled->ToHeader(), Header());
  const std::optional<TraceContext> not_sampled =
      TraceContext::Parse(Header("-00"));
  ASSERT_TRUE(not_sampled.has_value());
  EXPECT_FALSE(not_sampled->sampled);
  EXPECT_EQ(not_sampled->ToHeader(), Header("-00"));
}

TEST(TraceContextTest, TakesOfALaterVersionWhatItKnows) {
  const std::string later =
      absl::StrCat("cc-", kTrace, "-", kSpan, "-0b-what-comes-then");
  const std::optional<TraceContext> context = TraceContext::Parse(later);
  ASSERT_TRUE(context.has_value());
  EXPECT_EQ(context->ToHeader(), Header());
}

TEST(TraceContextTest, TakesNothingElse) {
  for (const std::string& header :
       {std::string(), std::string("00"), Header("-01-more"), Header("-1"),
        Header("-0x"), Header("_01"), absl::StrCat("ff", Header().substr(2)),
        absl::StrCat("0G", Header().substr(2)),
        absl::StrCat("00-", std::string(32, '0'), "-", kSpan, "-01"),
        absl::StrCat("00-", kTrace, "-", std::string(16, '0'), "-01"),
        absl::StrCat("00-4BF92F3577B34DA6A3CE929D0E0E4736-", kSpan, "-01"),
        absl::StrCat("00-", kTrace, kSpan, "--01"),
        std::string("01-\"}{\\n") + std::string(60, 'a')}) {
    EXPECT_FALSE(TraceContext::Parse(header).has_value()) << header;
  }
}

TEST(TraceContextTest, ANewTraceIsAnother) {
  const TraceContext one = TraceContext::New();
  EXPECT_THAT(one.ToHeader(), MatchesRegex("00-[0-9a-f]+-[0-9a-f]+-01"));
  EXPECT_TRUE(TraceContext::Parse(one.ToHeader()).has_value());
  EXPECT_NE(one.trace_id, TraceContext::New().trace_id);
}

TEST(TraceContextTest, AChildIsAnotherSpanOfTheSameTrace) {
  TraceContext one = TraceContext::New();
  one.sampled = false;
  const TraceContext child = one.Child();
  EXPECT_EQ(child.trace_id, one.trace_id);
  EXPECT_NE(child.span_id, one.span_id);
  EXPECT_FALSE(child.sampled);
}

TEST(TraceContextTest, ABatchHasTheSameTraceEachTime) {
  const TraceContext first = TraceContext::OfBatch("session", 1);
  const TraceContext again = TraceContext::OfBatch("session", 1);
  // sha256sum of session/1.
  EXPECT_EQ(first.ToHeader(),
            "00-2a3571cfad766765964dadd0dbc68417-62de0b1ab8d8ced0-01");
  EXPECT_EQ(first.ToHeader(), again.ToHeader());
  EXPECT_NE(first.trace_id, TraceContext::OfBatch("session", 2).trace_id);
}

}  // namespace
}  // namespace camherd
