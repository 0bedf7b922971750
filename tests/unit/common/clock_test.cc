// SPDX-License-Identifier: Apache-2.0
#include "services/common/clock.h"

#include <gtest/gtest.h>

#include <ctime>

#include "absl/time/time.h"
#include "tests/support/fake_clock.h"

namespace camherd {
namespace {

TEST(ClockTest, TheRealClockTellsTheSystemsTime) {
  const absl::Time before = absl::FromTimeT(std::time(nullptr));
  const absl::Time now = Clock::Real().Now();
  EXPECT_GE(now, before);
  EXPECT_LE(now, before + absl::Minutes(1));
}

TEST(ClockTest, TheSteadyClockAdvancesBySleepingAndNeverGoesBack) {
  Clock& clock = Clock::Real();
  const absl::Duration before = clock.SteadyNow();
  clock.SleepFor(absl::Milliseconds(2));
  EXPECT_GE(clock.SteadyNow() - before, absl::Milliseconds(2));
}

TEST(FakeClockTest, StandsUntilTheTestMovesIt) {
  testing::FakeClock clock(absl::UnixEpoch());
  EXPECT_EQ(clock.Now(), absl::UnixEpoch());
  clock.Advance(absl::Seconds(3));
  clock.SleepFor(absl::Seconds(2));
  EXPECT_EQ(clock.Now(), absl::FromUnixSeconds(5));
  EXPECT_EQ(clock.SteadyNow(), absl::Seconds(5));
}

TEST(FakeClockTest, AStepOfTheWallClockLeavesTheSteadyClockAlone) {
  testing::FakeClock clock(absl::UnixEpoch());
  clock.StepWallClock(-absl::Hours(1));
  EXPECT_EQ(clock.Now(), absl::UnixEpoch() - absl::Hours(1));
  EXPECT_EQ(clock.SteadyNow(), absl::ZeroDuration());
}

}  // namespace
}  // namespace camherd
