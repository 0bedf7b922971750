// SPDX-License-Identifier: Apache-2.0
#include "services/inference/turns.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "services/common/clock.h"
#include "tests/unit/inference/fakes.h"

namespace camherd::inference {
namespace {

using ::camherd::inference::testing::WaitUntil;
using ::testing::ElementsAre;

constexpr absl::Duration kLong = absl::Minutes(10);

TEST(TurnsTest, WhoGivesATurnBackComesAfterAllWhoWait) {
  Turns turns(1);
  ASSERT_TRUE(turns.Take(kLong));
  std::vector<int> order;  // Written by whoever has the turn.
  std::vector<std::thread> threads;
  for (int id = 0; id < 4; ++id) {
    threads.emplace_back([&, id] {
      ASSERT_TRUE(turns.Take(kLong));
      order.push_back(id);
      turns.Give();
    });
    ASSERT_TRUE(WaitUntil([&] { return turns.waiting() == id + 1; }));
  }
  turns.Give();
  ASSERT_TRUE(turns.Take(kLong));
  order.push_back(4);
  turns.Give();
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(order, ElementsAre(0, 1, 2, 3, 4));
}

TEST(TurnsTest, OnePictureDoesNotWaitForTheRestOfALargeBatch) {
  Turns turns(1);
  std::atomic<int> done = 0;
  std::atomic<bool> at_the_fifth = false;
  std::thread large([&] {
    for (int picture = 0; picture < 1000; ++picture) {
      ASSERT_TRUE(turns.Take(kLong));
      if (picture == 5) {
        at_the_fifth = true;
        ASSERT_TRUE(WaitUntil([&] { return turns.waiting() == 1; }));
      }
      ++done;
      turns.Give();
    }
  });
  ASSERT_TRUE(WaitUntil([&] { return at_the_fifth.load(); }));
  ASSERT_TRUE(turns.Take(kLong));
  EXPECT_EQ(done, 6);
  turns.Give();
  large.join();
  EXPECT_EQ(done, 1000);
}

// Two batches of ten and a picture, all behind one that works.
TEST(TurnsTest, TheFirstBatchIsDoneFirstAndAPictureOvertakesBoth) {
  Turns turns(1);
  ASSERT_TRUE(turns.Take(kLong));
  std::vector<int> order;  // Written by whoever has the turn.
  std::vector<std::thread> threads;
  for (const int count : {10, 10, 1}) {
    threads.emplace_back([&, id = static_cast<int>(threads.size()), count] {
      ASSERT_TRUE(
          turns.ForEach(count, kLong, [&](int) { order.push_back(id); }));
    });
    ASSERT_TRUE(WaitUntil(
        [&] { return turns.waiting() == static_cast<int>(threads.size()); }));
  }
  turns.Give();
  for (std::thread& thread : threads) thread.join();
  std::vector<int> expected = {2};
  expected.insert(expected.end(), 10, 0);
  expected.insert(expected.end(), 10, 1);
  EXPECT_EQ(order, expected);
}

TEST(TurnsTest, SinglePicturesHoldABatchUpNoLongerThanItIs) {
  Turns turns(1);
  ASSERT_TRUE(turns.Take(kLong));
  int singles = 0;  // Written by whoever has the turn.
  int singles_before = -1;
  std::thread batch([&] {
    ASSERT_TRUE(turns.ForEach(10, kLong, [&](int i) {
      if (i == 0) singles_before = singles;
    }));
  });
  ASSERT_TRUE(WaitUntil([&] { return turns.waiting() == 1; }));
  std::atomic<bool> stop = false;
  std::vector<std::thread> flood;
  for (int k = 0; k < 3; ++k) {
    flood.emplace_back([&] {
      while (!stop) {
        ASSERT_TRUE(turns.Take(kLong));
        ++singles;
        turns.Give();
      }
    });
  }
  ASSERT_TRUE(WaitUntil([&] { return turns.waiting() == 4; }));
  turns.Give();
  batch.join();
  stop = true;
  for (std::thread& thread : flood) thread.join();
  // Three of them wait when the batch comes to be first.
  EXPECT_LE(singles_before, 10 + 3);
}

TEST(TurnsTest, PicturesOfOneCallAreWorkedOnAtOnce) {
  Turns turns(3);
  std::atomic<int> at_once = 0;
  std::atomic<bool> together = true;
  std::vector<std::atomic<int>> calls(9);
  EXPECT_TRUE(turns.ForEach(9, kLong, [&](int i) {
    ++calls[i];
    ++at_once;
    // The first three wait for each other.
    if (i < 3 && !WaitUntil([&] { return at_once >= 3; })) together = false;
  }));
  EXPECT_TRUE(together);
  for (const std::atomic<int>& count : calls) EXPECT_EQ(count, 1);
  EXPECT_TRUE(turns.ForEach(0, kLong, [](int) { ADD_FAILURE(); }));
}

TEST(TurnsTest, ACallThatGetsNoTurnIsToldSo) {
  Turns turns(1);
  ASSERT_TRUE(turns.Take(kLong));
  EXPECT_FALSE(
      turns.ForEach(2, absl::Milliseconds(1), [](int) { ADD_FAILURE(); }));
  turns.Give();
}

TEST(TurnsTest, TellsHowLongTheFirstPictureWaited) {
  Turns turns(1);
  ASSERT_TRUE(turns.Take(kLong));
  absl::Duration waited = absl::ZeroDuration();
  std::thread batch([&] {
    ASSERT_TRUE(turns.ForEach(
        3, kLong, [](int) {}, &waited));
  });
  ASSERT_TRUE(WaitUntil([&] { return turns.waiting() == 1; }));
  const absl::Duration since = Clock::Real().SteadyNow();
  ASSERT_TRUE(WaitUntil([&] {
    return Clock::Real().SteadyNow() - since > absl::Milliseconds(20);
  }));
  turns.Give();
  batch.join();
  EXPECT_GE(waited, absl::Milliseconds(20));
}

TEST(TurnsTest, AsManyWorkAtOnceAsItSays) {
  Turns turns(2);
  ASSERT_TRUE(turns.Take(kLong));
  ASSERT_TRUE(turns.Take(kLong));
  EXPECT_FALSE(turns.Take(absl::ZeroDuration()));
  turns.Give();
  EXPECT_TRUE(turns.Take(absl::ZeroDuration()));
}

TEST(TurnsTest, OneWhoGivesUpWaitingHoldsNobodyUp) {
  Turns turns(1);
  ASSERT_TRUE(turns.Take(kLong));
  EXPECT_FALSE(turns.Take(absl::Milliseconds(1)));
  EXPECT_EQ(turns.waiting(), 0);
  turns.Give();
  EXPECT_TRUE(turns.Take(absl::ZeroDuration()));
}

TEST(TurnsTest, StopEndsTheWaitingAndWaitsForThoseWhoWork) {
  Turns turns(1);
  ASSERT_TRUE(turns.Take(kLong));
  std::atomic<bool> taken = true;
  std::thread waiter([&] { taken = turns.Take(kLong); });
  ASSERT_TRUE(WaitUntil([&] { return turns.waiting() == 1; }));
  std::atomic<bool> stopped = false;
  std::thread stopper([&] {
    turns.Stop();
    stopped = true;
  });
  waiter.join();
  EXPECT_FALSE(taken);
  EXPECT_FALSE(stopped);
  turns.Give();
  stopper.join();
  EXPECT_FALSE(turns.Take(kLong));
}

}  // namespace
}  // namespace camherd::inference
