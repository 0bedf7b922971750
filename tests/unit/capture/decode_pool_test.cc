// SPDX-License-Identifier: Apache-2.0
#include "services/capture/decode_pool.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <vector>

#include "absl/synchronization/notification.h"

namespace camherd::capture {
namespace {

TEST(DecodePoolTest, TheTasksOfOneStreamRunInOrderOneAtATime) {
  DecodePool pool({.threads = 4, .max_tasks_per_stream = 1000});
  const auto strand = pool.MakeStrand();
  std::vector<int> order;  // Unguarded on purpose: that is the promise.
  for (int i = 0; i < 500; ++i) {
    ASSERT_TRUE(pool.TryAdd(
        strand, [&order, i](DecodeThread&) { order.push_back(i); }));
  }
  pool.Drain(strand);
  ASSERT_EQ(order.size(), 500u);
  EXPECT_TRUE(std::is_sorted(order.begin(), order.end()));
}

TEST(DecodePoolTest, StreamsRunBesideEachOther) {
  DecodePool pool({.threads = 2});
  absl::Notification one, two;
  const auto a = pool.MakeStrand();
  const auto b = pool.MakeStrand();
  ASSERT_TRUE(pool.TryAdd(a, [&](DecodeThread&) {
    one.Notify();
    two.WaitForNotification();
  }));
  ASSERT_TRUE(pool.TryAdd(b, [&](DecodeThread&) {
    two.Notify();
    one.WaitForNotification();
  }));
  pool.Drain(a);
  pool.Drain(b);
}

TEST(DecodePoolTest, RefusesWhatExceedsTheLimitsOfAStreamAndOfAll) {
  DecodePool pool({.threads = 1, .max_tasks_per_stream = 2, .max_tasks = 3});
  absl::Notification started, go;
  const auto busy = pool.MakeStrand();
  ASSERT_TRUE(pool.TryAdd(busy, [&](DecodeThread&) {
    started.Notify();
    go.WaitForNotification();
  }));
  started.WaitForNotification();
  std::atomic<int> ran = 0;
  const auto task = [&ran](DecodeThread&) { ++ran; };
  const auto other = pool.MakeStrand();
  EXPECT_TRUE(pool.TryAdd(busy, task));
  EXPECT_TRUE(pool.TryAdd(busy, task));
  EXPECT_FALSE(pool.TryAdd(busy, task));
  EXPECT_TRUE(pool.TryAdd(other, task));
  EXPECT_FALSE(pool.TryAdd(other, task));
  EXPECT_EQ(pool.waiting(), 3u);
  go.Notify();
  pool.Drain(busy);
  pool.Drain(other);
  EXPECT_EQ(ran, 3);
}

TEST(DecodePoolTest, StopRunsWhatWaits) {
  std::atomic<int> ran = 0;
  DecodePool pool({.threads = 2});
  const auto strand = pool.MakeStrand();
  for (int i = 0; i < 5; ++i) pool.Add(strand, [&](DecodeThread&) { ++ran; });
  pool.Stop();
  EXPECT_EQ(ran, 5);
  EXPECT_FALSE(pool.TryAdd(strand, [](DecodeThread&) {}));
  pool.Add(strand, [&](DecodeThread&) { ++ran; });
  EXPECT_EQ(ran, 6);
}

}  // namespace
}  // namespace camherd::capture
