// SPDX-License-Identifier: Apache-2.0
#include "services/common/backoff.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "absl/time/time.h"

namespace camherd {
namespace {

constexpr Backoff::Options kOptions = {.initial = absl::Seconds(1),
                                       .max = absl::Seconds(60)};

TEST(BackoffTest, EachPauseLiesUnderABoundThatDoubles) {
  for (int round = 0; round < 50; ++round) {
    Backoff backoff(kOptions);
    absl::Duration bound = absl::Seconds(1);
    for (int attempt = 0; attempt < 6; ++attempt) {
      const absl::Duration pause = backoff.Next();
      EXPECT_LE(pause, bound);
      EXPECT_GE(pause, bound / 10);
      bound *= 2;
    }
  }
}

TEST(BackoffTest, NoPauseExceedsTheMaximumHoweverManyAttempts) {
  Backoff backoff(kOptions);
  for (int attempt = 0; attempt < 2000; ++attempt) {
    EXPECT_LE(backoff.Next(), absl::Seconds(60));
  }
  EXPECT_EQ(backoff.attempts(), 2000);
}

TEST(BackoffTest, PausesDifferSoThatPeersDoNotComeBackTogether) {
  absl::Duration least = absl::InfiniteDuration();
  absl::Duration most = absl::ZeroDuration();
  for (int round = 0; round < 200; ++round) {
    Backoff backoff(kOptions);
    const absl::Duration pause = backoff.Next();
    least = std::min(least, pause);
    most = std::max(most, pause);
  }
  EXPECT_LT(least, absl::Milliseconds(300));
  EXPECT_GT(most, absl::Milliseconds(800));
}

TEST(BackoffTest, ResetBeginsAtTheFirstPauseAgain) {
  Backoff backoff(kOptions);
  for (int attempt = 0; attempt < 10; ++attempt) backoff.Next();
  backoff.Reset();
  EXPECT_EQ(backoff.attempts(), 0);
  EXPECT_LE(backoff.Next(), absl::Seconds(1));
}

}  // namespace
}  // namespace camherd
