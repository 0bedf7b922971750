// SPDX-License-Identifier: Apache-2.0
#include "services/aggregator/disk_watch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "services/common/retry_delay.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"
#include "tests/unit/aggregator/aggregator_testing.h"

namespace camherd::aggregator {
namespace {

using ::camherd::aggregator::testing::MakeMetrics;
using ::camherd::testing::IsOk;
using ::camherd::testing::StatusIs;
using ::camherd::testing::TempDir;
using ::testing::AllOf;
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
  options.advice = "make room";
  options.free_bytes = [&free](const std::string&) { return free; };
  DiskWatch disk(options, *metrics);
  std::vector<std::string> told;
  disk.Start([&told](const std::string& reason) { told.push_back(reason); });

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
  EXPECT_THAT(
      told,
      ElementsAre("", "the disk is low: 499 bytes free, wanted 500; make room",
                  "", "gone"));
}

TEST(DiskWatchTest, IsNotReadyWhileNoFileCanBeWrittenAndSaysWhy) {
  const TempDir dir;
  const auto metrics = MakeMetrics();
  DiskWatch::Options options;
  options.path = dir.path();
  options.probe_file = dir / "gone/probe";
  options.low_bytes = 1;
  DiskWatch disk(options, *metrics);
  EXPECT_FALSE(disk.ready());
  EXPECT_THAT(disk.reason(), AllOf(HasSubstr("the disk takes no file"),
                                   HasSubstr("No such file or directory")));
  EXPECT_THAT(disk.CheckRoom(), IsOk());

  std::filesystem::create_directory(dir / "gone");
  disk.Poll();
  EXPECT_TRUE(disk.ready());
  EXPECT_EQ(disk.reason(), "");
  EXPECT_TRUE(std::filesystem::is_empty(dir / "gone"));
}

TEST(DiskWatchTest, WithoutRoomForFilesItIsNotReadyAndRefuses) {
  const auto metrics = MakeMetrics();
  absl::StatusOr<int64_t> free =
      absl::ResourceExhaustedError("the table of inodes is full");
  DiskWatch::Options options;
  options.low_bytes = 0;
  options.full_bytes = 0;
  options.free_bytes = [&free](const std::string&) { return free; };
  DiskWatch disk(options, *metrics);
  EXPECT_FALSE(disk.ready());
  EXPECT_THAT(disk.CheckRoom(), StatusIs(absl::StatusCode::kResourceExhausted,
                                         HasSubstr("inodes")));
  free = 0;
  disk.Poll();
  EXPECT_TRUE(disk.ready());
  EXPECT_THAT(disk.CheckRoom(), IsOk());
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
