// SPDX-License-Identifier: Apache-2.0
#include "services/aggregator/disk_watch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "services/common/retry_delay.h"
#include "tests/support/status_matchers.h"
#include "tests/unit/aggregator/aggregator_testing.h"

namespace camherd::aggregator {
namespace {

using ::camherd::aggregator::testing::MakeMetrics;
using ::camherd::testing::IsOk;
using ::camherd::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(DiskWatchTest, BelowTheWatermarkIsNotReadyAndBelowTheReserveRefuses) {
  const auto metrics = MakeMetrics();
  absl::StatusOr<int64_t> free = 1000;
  DiskWatch::Options options;
  options.path = "/data";
  options.low_bytes = 500;
  options.full_bytes = 100;
  options.poll_interval = absl::Hours(1);
  options.retry_delay = absl::Seconds(7);
  options.free_bytes = [&free](const std::string&) { return free; };
  DiskWatch disk(options, *metrics);
  std::vector<bool> told;
  disk.Start([&told](bool ready) { told.push_back(ready); });

  free = 499;
  disk.Poll();
  EXPECT_FALSE(disk.ready());
  EXPECT_THAT(disk.CheckRoom(), IsOk());
  free = 99;
  disk.Poll();
  EXPECT_THAT(disk.CheckRoom(), StatusIs(absl::StatusCode::kResourceExhausted,
                                         HasSubstr("99 bytes free")));
  EXPECT_EQ(RetryDelay(disk.CheckRoom()), absl::Seconds(7));
  free = 1000;
  disk.Poll();
  EXPECT_THAT(disk.CheckRoom(), IsOk());
  free = absl::UnavailableError("gone");
  disk.Poll();
  EXPECT_FALSE(disk.ready());
  disk.Stop();
  EXPECT_THAT(told, ElementsAre(true, false, true, false));
}

TEST(DiskWatchTest, AsksTheRealDisk) {
  const auto metrics = MakeMetrics();
  DiskWatch::Options options;
  options.path = "/";
  options.low_bytes = 1;
  options.full_bytes = 1;
  DiskWatch disk(options, *metrics);
  EXPECT_TRUE(disk.ready());
}

}  // namespace
}  // namespace camherd::aggregator
