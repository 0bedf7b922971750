// SPDX-License-Identifier: Apache-2.0
#include "services/aggregator/grid_archive.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "services/aggregator/sqlite_record_store.h"
#include "tests/support/fake_clock.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"
#include "tests/unit/aggregator/picture_testing.h"

namespace camherd::aggregator {
namespace {

using ::camherd::aggregator::testing::MakeFrame;
using ::camherd::aggregator::testing::MakeJpeg;
using ::camherd::aggregator::testing::MakeMetrics;
using ::camherd::aggregator::testing::ReadText;
using ::camherd::testing::FakeClock;
using ::camherd::testing::IsOk;
using ::camherd::testing::StatusIs;
using ::camherd::testing::TempDir;
using ::testing::HasSubstr;
using ::testing::SizeIs;

DiskWatch::Options AnyRoom(const std::string& path) {
  DiskWatch::Options options;
  options.path = path;
  options.low_bytes = 0;
  options.full_bytes = 0;
  return options;
}

class GridArchiveTest : public ::testing::Test {
 protected:
  GridArchiveTest() {
    header_.set_session_id("session-1");
    header_.set_process_name("demo");
    header_.set_save(true);
    for (int i = 1; i <= 9; ++i) {
      frames_.push_back(
          MakeFrame(i, 10 * i, MakeJpeg(64, 36, cv::Scalar::all(10 * i))));
    }
  }

  TempDir dir_;
  FakeClock clock_;
  std::unique_ptr<AggregatorMetrics> metrics_ = MakeMetrics();
  std::unique_ptr<SqliteRecordStore> store_ =
      SqliteRecordStore::Create({.data_dir = dir_.path()}, clock_).value();
  DiskWatch disk_{AnyRoom(dir_.path()), *metrics_};
  GridArchive grids_{dir_.path(), *store_, disk_, clock_, *metrics_};
  v1::RenderGridHeader header_;
  std::vector<v1::Frame> frames_;
};

TEST_F(GridArchiveTest, SavesTheGridUnderItsNameBrightestFirst) {
  const auto made = grids_.Render(header_, frames_);
  ASSERT_THAT(made, IsOk());
  EXPECT_EQ(made->grid().file_name(), "demo_20260801T095500.000Z.jpg");
  ASSERT_THAT(made->grid().cells(), SizeIs(9));
  EXPECT_EQ(made->grid().cells(0).frame_seq(), 9);
  EXPECT_EQ(ReadText(dir_ / ("images/" + made->grid().file_name())),
            made->jpeg());
  EXPECT_THAT(store_->ListGrids("", INT64_MAX, 10).value(), SizeIs(1));
}

TEST_F(GridArchiveTest, TheSameFramesInAnyOrderGiveTheGridThereIs) {
  const auto first = grids_.Render(header_, frames_);
  clock_.Advance(absl::Minutes(1));
  std::reverse(frames_.begin(), frames_.end());
  const auto second = grids_.Render(header_, frames_);
  ASSERT_THAT(second, IsOk());
  EXPECT_EQ(second->grid().file_name(), first->grid().file_name());
  EXPECT_EQ(second->jpeg(), first->jpeg());
  EXPECT_THAT(store_->ListGrids("", INT64_MAX, 10).value(), SizeIs(1));
}

TEST_F(GridArchiveTest, AGridWhoseFileIsGoneIsMadeAgainUnderItsName) {
  const auto first = grids_.Render(header_, frames_);
  std::filesystem::remove(dir_ / ("images/" + first->grid().file_name()));
  clock_.Advance(absl::Minutes(1));
  const auto second = grids_.Render(header_, frames_);
  ASSERT_THAT(second, IsOk());
  EXPECT_EQ(second->grid().file_name(), first->grid().file_name());
  EXPECT_TRUE(
      std::filesystem::exists(dir_ / ("images/" + first->grid().file_name())));
}

TEST_F(GridArchiveTest, OtherFramesOrAnotherSessionGiveAnotherGrid) {
  const auto first = grids_.Render(header_, frames_);
  header_.set_session_id("session-2");
  const auto second = grids_.Render(header_, frames_);
  frames_.pop_back();
  const auto third = grids_.Render(header_, frames_);
  EXPECT_NE(second->grid().file_name(), first->grid().file_name());
  EXPECT_NE(third->grid().file_name(), second->grid().file_name());
  EXPECT_THAT(store_->ListGrids("demo", INT64_MAX, 10).value(), SizeIs(3));
}

TEST_F(GridArchiveTest, AGridNotToBeSavedLeavesNoTrace) {
  header_.set_save(false);
  const auto made = grids_.Render(header_, {frames_[0]});
  ASSERT_THAT(made, IsOk());
  EXPECT_EQ(made->grid().file_name(), "");
  EXPECT_FALSE(made->jpeg().empty());
  EXPECT_FALSE(std::filesystem::exists(dir_ / "images"));
}

TEST_F(GridArchiveTest, WantsOneToNineFrames) {
  EXPECT_THAT(grids_.Render(header_, {}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("frames must number 1..9, got 0")));
  frames_.push_back(frames_[0]);
  EXPECT_THAT(grids_.Render(header_, frames_),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("10")));
}

TEST_F(GridArchiveTest, ChecksHeaderAndFrames) {
  EXPECT_THAT(GridArchive::CheckHeader(header_), IsOk());
  header_.set_process_name("../demo");
  EXPECT_THAT(
      GridArchive::CheckHeader(header_),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("process_name")));
  EXPECT_THAT(GridArchive::CheckFrame(frames_[0]), IsOk());
  frames_[0].mutable_jpeg()->push_back('x');
  EXPECT_THAT(GridArchive::CheckFrame(frames_[0]),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("SHA-256")));
}

}  // namespace
}  // namespace camherd::aggregator
