// SPDX-License-Identifier: Apache-2.0
#include "services/common/worker_pool.h"

#include <gtest/gtest.h>

#include <vector>

#include "absl/synchronization/notification.h"

namespace camherd {
namespace {

// A pool of one thread that is busy until `release`.
class BusyPool {
 public:
  explicit BusyPool(size_t capacity) : pool(1, capacity) {
    EXPECT_TRUE(pool.TryRun([this] {
      busy.Notify();
      release.WaitForNotification();
    }));
    busy.WaitForNotification();
  }

  absl::Notification busy;
  absl::Notification release;
  WorkerPool pool;
};

TEST(WorkerPoolTest, RunsTasksInOrderOfArrival) {
  BusyPool busy(3);
  std::vector<int> ran;
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(busy.pool.TryRun([&ran, i] { ran.push_back(i); }));
  }
  busy.release.Notify();
  busy.pool.Stop();
  EXPECT_EQ(ran, (std::vector<int>{0, 1, 2}));
}

TEST(WorkerPoolTest, RefusesATaskWhenAsManyAsItHoldsAreWaiting) {
  BusyPool busy(1);
  bool waited_ran = false;
  bool refused_ran = false;
  EXPECT_TRUE(busy.pool.TryRun([&] { waited_ran = true; }));
  EXPECT_FALSE(busy.pool.TryRun([&] { refused_ran = true; }));
  busy.release.Notify();
  busy.pool.Stop();
  EXPECT_TRUE(waited_ran);
  EXPECT_FALSE(refused_ran);
}

TEST(WorkerPoolTest, RunsAsManyTasksAtOnceAsItHasThreads) {
  WorkerPool pool(2, 2);
  absl::Notification first;
  absl::Notification second;
  EXPECT_TRUE(pool.TryRun([&] {
    first.Notify();
    second.WaitForNotification();
  }));
  EXPECT_TRUE(pool.TryRun([&] {
    second.Notify();
    first.WaitForNotification();
  }));
  pool.Stop();
  EXPECT_TRUE(first.HasBeenNotified() && second.HasBeenNotified());
}

TEST(WorkerPoolTest, TakesNothingAfterItStoppedAndMayBeStoppedTwice) {
  WorkerPool pool(1, 1);
  pool.Stop();
  EXPECT_FALSE(pool.TryRun([] {}));
  pool.Stop();
}

}  // namespace
}  // namespace camherd
