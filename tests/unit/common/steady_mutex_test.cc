// SPDX-License-Identifier: Apache-2.0
#include "services/common/steady_mutex.h"

#include <gtest/gtest.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include <atomic>
#include <ctime>
#include <thread>
#include <vector>

#include "absl/time/time.h"
#include "services/common/clock.h"

namespace {

std::atomic<time_t> ahead{0};

}  // namespace

// These stand before the C library's. To a wait that ends by the wall clock it
// is as if the host's were set back between its call and the kernel's look.
extern "C" int clock_gettime(clockid_t id, timespec* time) noexcept {
  const long result = syscall(SYS_clock_gettime, id, time);
  if (id == CLOCK_REALTIME) time->tv_sec += ahead;
  return static_cast<int>(result);
}
extern "C" int gettimeofday(timeval* time, void* zone) noexcept {
  const long result = syscall(SYS_gettimeofday, time, zone);
  time->tv_sec += ahead;
  return static_cast<int>(result);
}

namespace camherd {
namespace {

TEST(SteadyMutexTest, AClockAnHourBackDelaysNoTimeout) {
  const absl::Time before = Clock::Real().Now();
  ahead = 3600;
  ASSERT_GT(Clock::Real().Now() - before, absl::Minutes(59));
  const absl::Duration start = Clock::Real().SteadyNow();
  SteadyMutex mu;
  {
    SteadyMutex::Holder lock(&mu);
    EXPECT_FALSE(mu.AwaitFor([] { return false; }, absl::Milliseconds(20)));
  }
  ahead = 0;
  const absl::Duration waited = Clock::Real().SteadyNow() - start;
  EXPECT_GE(waited, absl::Milliseconds(20));
  EXPECT_LT(waited, absl::Minutes(1));
}

TEST(SteadyMutexTest, WhoWaitsIsWokenByWhatMakesItsConditionHold) {
  SteadyMutex mu;
  int turn = 0;
  std::vector<std::thread> threads;
  for (int i = 7; i >= 0; --i) {
    threads.emplace_back([&, i] {
      SteadyMutex::Holder lock(&mu);
      mu.Await([&] { return turn == i; });
      ++turn;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(turn, 8);
}

TEST(SteadyMutexTest, WhoWaitsItselfWakesOthersBefore) {
  SteadyMutex mu;
  bool asked = false;
  bool answered = false;
  std::thread other([&] {
    SteadyMutex::Holder lock(&mu);
    mu.Await([&] { return asked; });
    answered = true;
  });
  {
    SteadyMutex::Holder lock(&mu);
    asked = true;
    EXPECT_TRUE(mu.AwaitFor([&] { return answered; }, absl::Minutes(1)));
  }
  other.join();
}

TEST(SteadyMutexTest, AnInfiniteTimeoutIsNone) {
  SteadyMutex mu;
  bool done = false;
  std::thread other([&] {
    SteadyMutex::Holder lock(&mu);
    done = true;
  });
  {
    SteadyMutex::Holder lock(&mu);
    EXPECT_TRUE(mu.AwaitFor([&] { return done; }, absl::InfiniteDuration()));
    EXPECT_FALSE(mu.AwaitFor([] { return false; }, -absl::InfiniteDuration()));
  }
  other.join();
}

}  // namespace
}  // namespace camherd
