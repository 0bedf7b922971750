// SPDX-License-Identifier: Apache-2.0
#include "gateway/rate_limiter.h"

#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"

namespace camherd::gateway {
namespace {

// How many of `count` requests at `now` are let through.
int Passed(RateLimiter& limiter, absl::string_view client, int count,
           absl::Duration now) {
  int passed = 0;
  for (int i = 0; i < count; ++i) {
    if (limiter.Take(client, now) == absl::ZeroDuration()) ++passed;
  }
  return passed;
}

TEST(RateLimiterTest, LetsABurstThroughAndThenTheRate) {
  RateLimiter limiter({.per_second = 10, .burst = 5});
  EXPECT_EQ(Passed(limiter, "a", 8, absl::Seconds(100)), 5);
  EXPECT_EQ(Passed(limiter, "a", 8, absl::Seconds(100.3)), 3);
  // A long silence saves up no more than a burst.
  EXPECT_EQ(Passed(limiter, "a", 8, absl::Seconds(900)), 5);
}

TEST(RateLimiterTest, SaysWhenToComeAgain) {
  RateLimiter limiter({.per_second = 0.5, .burst = 1});
  EXPECT_EQ(limiter.Take("a", absl::Seconds(1)), absl::ZeroDuration());
  EXPECT_EQ(limiter.Take("a", absl::Seconds(2)), absl::Seconds(1));
  EXPECT_EQ(limiter.Take("a", absl::Seconds(3)), absl::ZeroDuration());
}

TEST(RateLimiterTest, OneClientCostsAnotherNothing) {
  RateLimiter limiter({.per_second = 1, .burst = 2});
  EXPECT_EQ(Passed(limiter, "a", 100, absl::Seconds(1)), 2);
  EXPECT_EQ(Passed(limiter, "b", 100, absl::Seconds(1)), 2);
}

TEST(RateLimiterTest, IsOffAtARateOfZero) {
  RateLimiter limiter({.per_second = 0, .burst = 1});
  EXPECT_EQ(Passed(limiter, "a", 1000, absl::Seconds(1)), 1000);
  EXPECT_EQ(limiter.clients(), 0u);
}

TEST(RateLimiterTest, ForgetsTheLongestSilentPastItsTable) {
  RateLimiter limiter({.per_second = 1, .burst = 1, .max_clients = 3});
  for (const char* client : {"a", "b", "c", "a", "d"}) {
    limiter.Take(client, absl::Seconds(1));
  }
  EXPECT_EQ(limiter.clients(), 3u);
  EXPECT_EQ(Passed(limiter, "a", 1, absl::Seconds(1)), 0);
  EXPECT_EQ(Passed(limiter, "b", 1, absl::Seconds(1)), 1);
  for (int i = 0; i < 1000; ++i) {
    limiter.Take(absl::StrCat("x", i), absl::Seconds(2));
  }
  EXPECT_EQ(limiter.clients(), 3u);
}

}  // namespace
}  // namespace camherd::gateway
