// SPDX-License-Identifier: Apache-2.0
#include "services/capture/reconnect_backoff.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "tests/support/fake_clock.h"

namespace camherd::capture {
namespace {

using ::camherd::testing::FakeClock;

constexpr auto kAway = absl::StatusCode::kUnavailable;

// Tries until `away` has passed, each try taking `try_time`; returns the
// pauses.
std::vector<absl::Duration> PausesWhileAway(ReconnectBackoff& backoff,
                                            FakeClock& clock,
                                            absl::Duration away,
                                            absl::Duration try_time,
                                            absl::StatusCode code = kAway) {
  std::vector<absl::Duration> pauses;
  const absl::Duration end = clock.SteadyNow() + away;
  while (clock.SteadyNow() < end) {
    clock.Advance(try_time);
    pauses.push_back(backoff.Next(code, clock.SteadyNow()));
    clock.Advance(pauses.back());
  }
  return pauses;
}

TEST(ReconnectBackoffTest, ACameraThatIsAwayForMinutesIsTriedEveryFewSeconds) {
  FakeClock clock;
  ReconnectBackoff backoff({});
  for (const absl::Duration pause : PausesWhileAway(
           backoff, clock, absl::Minutes(10), absl::Milliseconds(10))) {
    EXPECT_LE(pause, absl::Seconds(5));
    EXPECT_GE(pause, absl::Milliseconds(100));
  }
}

TEST(ReconnectBackoffTest, ThePausesGrowWithTheAbsenceToTheMaximum) {
  FakeClock clock;
  ReconnectBackoff backoff({});
  const auto first =
      PausesWhileAway(backoff, clock, absl::Hours(1), absl::Milliseconds(10));
  EXPECT_LE(*std::max_element(first.begin(), first.end()), absl::Seconds(31));
  PausesWhileAway(backoff, clock, absl::Hours(2), absl::Milliseconds(10));
  const auto later =
      PausesWhileAway(backoff, clock, absl::Hours(2), absl::Milliseconds(10));
  EXPECT_LE(*std::max_element(later.begin(), later.end()), absl::Seconds(60));
  // Two tries a minute at most, on average.
  EXPECT_LE(later.size(), 2 * 120 * 1.2);
}

TEST(ReconnectBackoffTest, ACameraThatRefusesSessionsHasTheLongBackoff) {
  FakeClock clock;
  ReconnectBackoff backoff({});
  const auto pauses =
      PausesWhileAway(backoff, clock, absl::Minutes(10), absl::Milliseconds(10),
                      absl::StatusCode::kResourceExhausted);
  EXPECT_LE(pauses.front(), absl::Seconds(1));
  EXPECT_GT(*std::max_element(pauses.begin(), pauses.end()), absl::Seconds(20));
  EXPECT_LE(pauses.size(), 50u);
}

TEST(ReconnectBackoffTest, WhatOnlyAChangeCuresIsTriedSlowlyFromTheFirst) {
  ReconnectBackoff backoff({});
  for (const auto code :
       {absl::StatusCode::kUnauthenticated, absl::StatusCode::kNotFound,
        absl::StatusCode::kFailedPrecondition, absl::StatusCode::kUnimplemented,
        absl::StatusCode::kPermissionDenied,
        absl::StatusCode::kInvalidArgument}) {
    const absl::Duration pause = backoff.Next(code, absl::ZeroDuration());
    EXPECT_GE(pause, absl::Seconds(60));
    EXPECT_LE(pause, absl::Seconds(75));
  }
}

TEST(ReconnectBackoffTest, HealthEndsTheAbsence) {
  FakeClock clock;
  ReconnectBackoff backoff({});
  PausesWhileAway(backoff, clock, absl::Hours(5), absl::Milliseconds(10));
  backoff.Reset();
  EXPECT_LE(backoff.Next(kAway, clock.SteadyNow()), absl::Seconds(1));
}

TEST(ReconnectBackoffTest, TheMaximumHoldsBelowTheSooner) {
  ReconnectBackoff backoff(
      {.initial = absl::Milliseconds(20), .max = absl::Milliseconds(50)});
  for (int i = 0; i < 100; ++i) {
    EXPECT_LE(backoff.Next(kAway, absl::Seconds(i)), absl::Milliseconds(50));
  }
}

struct Outage {
  std::string name;
  // How long a try takes that fails, and one that begins while the camera is
  // away but could still succeed when it comes back within.
  absl::Duration try_time;
};

class OutageTest : public ::testing::TestWithParam<Outage> {};

// The time from a camera's return to its connection, over outages from 10 s to
// 10 min: what is left of the try under way, and of the pause after it.
TEST_P(OutageTest, TheCameraIsFoundWithinSecondsOfItsReturn) {
  std::vector<double> found;
  FakeClock clock;
  for (int outage = 10; outage <= 600; outage += 2) {
    for (int repetition = 0; repetition < 10; ++repetition) {
      ReconnectBackoff backoff({});
      const absl::Duration back = clock.SteadyNow() + absl::Seconds(outage) +
                                  absl::Milliseconds(97 * repetition);
      while (true) {
        // A try that begins before the return meets nobody.
        if (clock.SteadyNow() >= back) break;
        clock.Advance(GetParam().try_time);
        clock.Advance(backoff.Next(kAway, clock.SteadyNow()));
      }
      found.push_back(absl::ToDoubleSeconds(clock.SteadyNow() - back));
    }
  }
  std::sort(found.begin(), found.end());
  const double median = found[found.size() / 2];
  const double p99 = found[found.size() * 99 / 100];
  RecordProperty("median_seconds", std::to_string(median));
  RecordProperty("p99_seconds", std::to_string(p99));
  // A keyframe and the due time of the next sample take their part of 5 s.
  EXPECT_LE(median, 4);
  EXPECT_LE(p99, 11);
}

INSTANTIATE_TEST_SUITE_P(
    All, OutageTest,
    ::testing::Values(Outage{"Refused", absl::Milliseconds(1)},
                      Outage{"Unreachable", absl::Seconds(3)},
                      Outage{"Silent", absl::Seconds(5)}),
    [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace camherd::capture
