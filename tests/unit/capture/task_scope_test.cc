// SPDX-License-Identifier: Apache-2.0
#include "services/capture/task_scope.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/fake_clock.h"

namespace camherd::capture {
namespace {

using ::camherd::testing::FakeClock;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(TaskScopeTest, IsOverdueAfterItsLimitAndForgottenAtItsEnd) {
  FakeClock clock;
  const TaskScope::Tag a("a");
  const TaskScope::Tag b("b");
  {
    const TaskScope slow(a, absl::Seconds(10), clock);
    const TaskScope quick(b, absl::Seconds(2), clock);
    EXPECT_THAT(TaskScope::Overdue(clock), IsEmpty());
    clock.Advance(absl::Seconds(3));
    EXPECT_THAT(TaskScope::Overdue(clock), ElementsAre("b"));
    clock.Advance(absl::Seconds(8));
    EXPECT_THAT(TaskScope::Overdue(clock), ElementsAre("a", "b"));
  }
  EXPECT_THAT(TaskScope::Overdue(clock), IsEmpty());
}

TEST(TaskScopeTest, APauseDoesNotCount) {
  FakeClock clock;
  const TaskScope::Tag a("a");
  const TaskScope scope(a, absl::Seconds(10), clock);
  clock.Advance(absl::Seconds(4));
  {
    const TaskScope::Pause pause(clock);
    clock.Advance(absl::Hours(1));
    EXPECT_THAT(TaskScope::Overdue(clock), IsEmpty());
  }
  clock.Advance(absl::Seconds(5));
  EXPECT_THAT(TaskScope::Overdue(clock), IsEmpty());
  clock.Advance(absl::Seconds(2));
  EXPECT_THAT(TaskScope::Overdue(clock), ElementsAre("a"));
}

TEST(TaskScopeTest, APauseWithoutAScopeIsNothing) {
  FakeClock clock;
  const TaskScope::Pause pause(clock);
  EXPECT_THAT(TaskScope::Overdue(clock), IsEmpty());
}

}  // namespace
}  // namespace camherd::capture
