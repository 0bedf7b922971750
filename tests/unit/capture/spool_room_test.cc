// SPDX-License-Identifier: Apache-2.0
#include "services/capture/spool_room.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/support/status_matchers.h"

namespace camherd::capture {
namespace {

using ::camherd::testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr int64_t kMiB = 1 << 20;

SpoolRoom::Options Quotas() {
  return {.path = ::testing::TempDir(),
          .stream_max_bytes = 1000,
          .total_max_bytes = 10000,
          .low_disk_bytes = 0,
          .full_disk_bytes = 0};
}

// What comes of each fill of the stream's quota, one after the other.
std::vector<int> Steps(const SpoolRoom& room, const std::vector<int>& fills) {
  std::vector<int> steps;
  int widened = 1;
  for (const int bytes : fills) {
    widened = room.Widened(widened, bytes, bytes);
    steps.push_back(widened);
  }
  return steps;
}

TEST(SpoolRoomTest, TheIntervalDoublesWheneverHalfOfTheRoomLeftIsUsed) {
  const SpoolRoom room(Quotas());
  EXPECT_THAT(Steps(room, {0, 500, 501, 750, 751, 875, 876, 937, 938, 1000}),
              ElementsAre(1, 1, 2, 2, 4, 4, 8, 8, 16, 16));
}

TEST(SpoolRoomTest, ItNarrowsWellBelowTheStepSoThatItDoesNotSwing) {
  const SpoolRoom room(Quotas());
  EXPECT_THAT(Steps(room, {1000, 800, 751, 749, 601, 599, 501, 401, 400, 450}),
              ElementsAre(16, 16, 16, 8, 4, 2, 2, 2, 1, 1));
}

TEST(SpoolRoomTest, TheQuotaOfAllCountsForEachStream) {
  const SpoolRoom room(Quotas());
  EXPECT_EQ(room.Widened(1, 10, 5001), 2);
  EXPECT_EQ(room.Widened(1, 10, 9999), SpoolRoom::kMostWidened);
}

TEST(SpoolRoomTest, ItCanBeSwitchedOff) {
  SpoolRoom::Options options = Quotas();
  options.widen_above = 1;
  EXPECT_EQ(SpoolRoom(options).Widened(1, 1000, 1000), 1);
  EXPECT_EQ(SpoolRoom(options).Widened(4, 1000, 1000), 1);
}

class DiskTest : public ::testing::Test {
 protected:
  DiskTest()
      : room_({.path = "/spool",
               .low_disk_bytes = 100 * kMiB,
               .full_disk_bytes = 20 * kMiB,
               .free_bytes = [this](const std::string&) { return free_; }}) {
    room_.WatchReadiness(
        [this](const absl::Status& ready) { told_.push_back(ready); });
  }

  void Look(absl::StatusOr<int64_t> free) {
    free_ = std::move(free);
    room_.LookAtDisk();
  }

  absl::StatusOr<int64_t> free_ = 1000 * kMiB;
  std::vector<absl::Status> told_;
  SpoolRoom room_;
};

TEST_F(DiskTest, ALowDiskIsNotReadyAndSaysWhy) {
  EXPECT_THAT(told_, ElementsAre(absl::OkStatus()));
  Look(99 * kMiB);
  ASSERT_EQ(told_.size(), 2u);
  EXPECT_THAT(told_[1], StatusIs(absl::StatusCode::kResourceExhausted,
                                 AllOf(HasSubstr("103809024 bytes are free"),
                                       HasSubstr("capture.low_disk_bytes"))));
  EXPECT_FALSE(room_.disk_full());
  EXPECT_EQ(room_.disk_free_bytes(), 99 * kMiB);
  Look(98 * kMiB);
  EXPECT_EQ(told_.size(), 2u);
  Look(100 * kMiB);
  ASSERT_EQ(told_.size(), 3u);
  EXPECT_TRUE(told_[2].ok());
}

TEST_F(DiskTest, ADatabaseThatCannotBeWrittenIsNotReadyAndSaysWhy) {
  room_.LookAtDisk(absl::UnavailableError("disk I/O error"));
  ASSERT_EQ(told_.size(), 2u);
  EXPECT_THAT(told_[1], StatusIs(absl::StatusCode::kResourceExhausted,
                                 AllOf(HasSubstr("capture.db"),
                                       HasSubstr("disk I/O error"))));
  EXPECT_FALSE(room_.disk_full());
  room_.LookAtDisk();
  ASSERT_EQ(told_.size(), 3u);
  EXPECT_TRUE(told_[2].ok());
}

TEST_F(DiskTest, AFullDiskHasRoomAgainOnlyWithSomeToSpare) {
  Look(20 * kMiB);
  EXPECT_FALSE(room_.disk_full());
  Look(20 * kMiB - 1);
  EXPECT_TRUE(room_.disk_full());
  Look(29 * kMiB);
  EXPECT_TRUE(room_.disk_full());
  Look(30 * kMiB);
  EXPECT_FALSE(room_.disk_full());
}

TEST_F(DiskTest, ADiskThatCannotBeAskedIsNotReadyButWrittenTo) {
  Look(absl::UnavailableError("statvfs: Input/output error"));
  EXPECT_THAT(told_.back(), StatusIs(absl::StatusCode::kResourceExhausted,
                                     HasSubstr("Input/output error")));
  EXPECT_FALSE(room_.disk_full());
  EXPECT_EQ(room_.disk_free_bytes(), -1);
}

TEST_F(DiskTest, ADiskWithoutInodesIsFull) {
  Look(absl::ResourceExhaustedError("the table of inodes is full"));
  EXPECT_TRUE(room_.disk_full());
  EXPECT_THAT(told_.back(), StatusIs(absl::StatusCode::kResourceExhausted,
                                     HasSubstr("full: the table of inodes")));
  Look(1000 * kMiB);
  EXPECT_FALSE(room_.disk_full());
  EXPECT_TRUE(told_.back().ok());
}

TEST_F(DiskTest, NobodyIsToldAnyMoreWhoNoLongerAsks) {
  room_.WatchReadiness(nullptr);
  Look(0);
  EXPECT_EQ(told_.size(), 1u);
}

TEST(SpoolRoomTest, TheDiskOfTheFolderIsAsked) {
  EXPECT_GT(SpoolRoom(Quotas()).disk_free_bytes(), 0);
}

}  // namespace
}  // namespace camherd::capture
