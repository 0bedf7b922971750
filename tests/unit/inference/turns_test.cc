// SPDX-License-Identifier: Apache-2.0
#include "services/inference/turns.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

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
