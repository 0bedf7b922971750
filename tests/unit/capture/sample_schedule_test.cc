// SPDX-License-Identifier: Apache-2.0
#include "services/capture/sample_schedule.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "absl/time/time.h"
#include "tests/support/status_matchers.h"

namespace camherd::capture {
namespace {

using ::camherd::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Lets access units arrive at the given milliseconds, returns those taken.
std::vector<int> Taken(SampleSchedule& schedule, const std::vector<int>& ms) {
  std::vector<int> taken;
  for (const int t : ms) {
    if (schedule.TakeIfDue(absl::Milliseconds(t))) taken.push_back(t);
  }
  return taken;
}

SampleSchedule EverySecond() {
  return SampleSchedule::Create({.interval = absl::Seconds(1)}).value();
}

TEST(SampleScheduleTest, TakesTheFirstArrivalOfEachInterval) {
  SampleSchedule schedule = EverySecond();
  EXPECT_THAT(Taken(schedule, {0, 400, 800, 1200, 1600, 2000}),
              ElementsAre(0, 1200, 2000));
}

TEST(SampleScheduleTest, ALateSampleShiftsNoLaterOne) {
  SampleSchedule schedule = EverySecond();
  EXPECT_THAT(Taken(schedule, {0, 1900, 2000, 3000}),
              ElementsAre(0, 1900, 2000, 3000));
}

TEST(SampleScheduleTest, TakesOneSampleNotABacklogAfterAStallAndCountsTheRest) {
  SampleSchedule schedule = EverySecond();
  EXPECT_THAT(Taken(schedule, {0, 5000, 5040, 5080}), ElementsAre(0, 5000));
  EXPECT_EQ(schedule.missed_samples(), 4);
  EXPECT_EQ(schedule.due_samples(), 6);
}

TEST(SampleScheduleTest, ThePhaseMovesTheGrid) {
  SampleSchedule schedule =
      SampleSchedule::Create(
          {.interval = absl::Seconds(1), .phase = absl::Milliseconds(300)})
          .value();
  EXPECT_THAT(Taken(schedule, {1000, 1200, 1400, 2200, 2300}),
              ElementsAre(1000, 1400, 2300));
}

TEST(SampleScheduleTest, WorksBeforeTheOriginOfTheClock) {
  SampleSchedule schedule =
      SampleSchedule::Create(
          {.interval = absl::Seconds(10), .phase = absl::Seconds(9)})
          .value();
  EXPECT_THAT(Taken(schedule, {0, 8999, 9000, 12000}), ElementsAre(0, 9000));
  EXPECT_EQ(schedule.missed_samples(), 0);
}

TEST(SampleScheduleTest, CountsTheDueTimesThatPassWithoutACamera) {
  SampleSchedule schedule = EverySecond();
  schedule.Start(absl::Milliseconds(2500));
  EXPECT_EQ(schedule.next_due(), absl::Seconds(2));
  EXPECT_EQ(schedule.MissUntil(absl::Milliseconds(1999)), 0);
  EXPECT_EQ(schedule.MissUntil(absl::Seconds(4)), 3);
  EXPECT_EQ(schedule.MissUntil(absl::Milliseconds(4500)), 0);
  EXPECT_EQ(schedule.next_due(), absl::Seconds(5));
  schedule.Take();
  EXPECT_EQ(schedule.next_due(), absl::Seconds(6));
  EXPECT_EQ(schedule.due_samples(), 4);
  EXPECT_EQ(schedule.taken_samples(), 1);
}

TEST(SampleScheduleTest, RejectsAnIntervalOutOfRangeAndNamesIt) {
  EXPECT_THAT(SampleSchedule::Create({.interval = absl::ZeroDuration()}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("got 0")));
  EXPECT_THAT(
      SampleSchedule::Create({.interval = absl::Hours(25)}),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("got 90000")));
}

TEST(SampleScheduleTest, RejectsAPhaseOfAWholeInterval) {
  EXPECT_THAT(SampleSchedule::Create(
                  {.interval = absl::Seconds(3), .phase = absl::Seconds(3)}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("phase_seconds must be in [0, 3), got 3")));
}

}  // namespace
}  // namespace camherd::capture
