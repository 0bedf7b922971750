// SPDX-License-Identifier: Apache-2.0
#include "services/aggregator/retention.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "services/aggregator/data_layout.h"
#include "services/aggregator/predictions_file.h"
#include "services/aggregator/predictions_file_recovery.h"
#include "services/aggregator/record_export.h"
#include "services/aggregator/sqlite_record_store.h"
#include "tests/support/fake_clock.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"
#include "tests/unit/aggregator/aggregator_testing.h"

namespace camherd::aggregator {
namespace {

using ::camherd::aggregator::testing::AppendAndWait;
using ::camherd::aggregator::testing::FirstFrame;
using ::camherd::aggregator::testing::MakeHeader;
using ::camherd::aggregator::testing::MakeMetrics;
using ::camherd::aggregator::testing::MakeNewRecord;
using ::camherd::aggregator::testing::ReadText;
using ::camherd::testing::FakeClock;
using ::camherd::testing::IsOk;
using ::camherd::testing::StatusIs;
using ::camherd::testing::TempDir;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::Gt;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Le;
using ::testing::SizeIs;

constexpr absl::Duration kWait = absl::Seconds(30);

// Batch n is captured 30 (n - 1) s after FirstFrame.
class RetentionTest : public ::testing::Test {
 protected:
  RetentionTest() {
    options_.predictions_path = PredictionsPath(dir_.path());
    options_.keep_unwritten = false;
  }

  // `padding` bytes more in each of its two pictures.
  void Append(int64_t batch_seq, size_t padding = 0) {
    v1::AddBatchResultHeader header = MakeHeader("s", batch_seq);
    NewRecord record = MakeNewRecord(header);
    for (Picture& picture : record.pictures) picture.jpeg.append(padding, 'x');
    ASSERT_THAT(AppendAndWait(*store_, std::move(record)), IsOk());
  }

  void AddGrid(const std::string& name, absl::Time rendered_at) {
    v1::Grid grid;
    grid.set_session_id("s");
    grid.set_file_name(name);
    *grid.mutable_rendered_at() = ToProto(rendered_at);
    std::filesystem::create_directory(dir_ / "images");
    testing::WriteText(dir_ / GridFile(name), std::string(2'000'000, 'g'));
    ASSERT_THAT(store_->AddGrid(grid, name, 2'000'000), IsOk());
  }

  void AddRotated(int64_t number, absl::Time newest, size_t bytes = 10) {
    const std::string path = RotatedFile(options_.predictions_path, number);
    testing::WriteText(path, std::string(bytes, 'p'));
    const timespec time = absl::ToTimespec(newest);
    const timespec times[] = {time, time};
    ASSERT_EQ(::utimensat(AT_FDCWD, path.c_str(), times, 0), 0);
  }

  absl::Status Run() {
    return Retention(options_, *store_, clock_, *metrics_).RunOnce().status();
  }

  // Numbers of the batches there are, the newest first.
  std::vector<int64_t> Batches() {
    std::vector<int64_t> numbers;
    const auto records = store_->ListRecords({}, std::nullopt, 1000).value();
    for (const v1::Record& record : records) {
      numbers.push_back(record.batch_seq());
    }
    return numbers;
  }

  std::vector<std::string> Files(const std::string& folder,
                                 const std::string& ending) {
    std::vector<std::string> names;
    std::error_code error;
    for (const auto& entry :
         std::filesystem::recursive_directory_iterator(dir_ / folder, error)) {
      const std::string name = entry.path().filename().string();
      if (absl::EndsWith(name, ending)) names.push_back(name);
    }
    std::sort(names.begin(), names.end());
    return names;
  }

  int64_t Total() {
    const StoreUsage usage = store_->GetUsage().value();
    int64_t total =
        usage.picture_bytes + usage.database_bytes + usage.grid_bytes;
    for (const auto& file : ListRotatedPredictions(options_.predictions_path)) {
      total += file.bytes;
    }
    return total;
  }

  TempDir dir_;
  FakeClock clock_;
  std::unique_ptr<AggregatorMetrics> metrics_ = MakeMetrics();
  std::unique_ptr<SqliteRecordStore> store_ =
      SqliteRecordStore::Create({.data_dir = dir_.path()}, clock_).value();
  Retention::Options options_;
};

TEST_F(RetentionTest, WithoutLimitsNothingIsRemoved) {
  Append(1);
  AddGrid("a.jpg", FirstFrame());
  AddRotated(1, FirstFrame());
  clock_.Advance(absl::Hours(24 * 365 * 20));
  ASSERT_THAT(Run(), IsOk());
  EXPECT_THAT(Batches(), ElementsAre(1));
  EXPECT_THAT(Files("images", ".jpg"), SizeIs(1));
  EXPECT_THAT(Files("", "predictions-1.json"), SizeIs(1));
}

TEST_F(RetentionTest, WhatIsTooOldGoesWithItsFilesAndFolders) {
  for (int i = 1; i <= 4; ++i) Append(i);
  AddGrid("old.jpg", FirstFrame());
  AddGrid("new.jpg", FirstFrame() + absl::Minutes(2));
  AddRotated(1, FirstFrame() + absl::Seconds(10));
  AddRotated(2, FirstFrame() + absl::Minutes(2));
  options_.max_age = absl::Hours(1);
  // Batches 1 and 2 are older than an hour, 3 is one exactly.
  clock_.Advance(FirstFrame() + absl::Hours(1) + absl::Seconds(60) -
                 clock_.Now());
  ASSERT_THAT(Run(), IsOk());
  EXPECT_THAT(Batches(), ElementsAre(4, 3));
  EXPECT_THAT(Files("records", ".jpg"), SizeIs(4));
  EXPECT_THAT(Files("images", ".jpg"), ElementsAre("new.jpg"));
  EXPECT_THAT(Files("", "predictions-1.json"), IsEmpty());
  EXPECT_THAT(Files("", "predictions-2.json"), SizeIs(1));
  clock_.Advance(absl::Hours(1));
  ASSERT_THAT(Run(), IsOk());
  EXPECT_THAT(Batches(), IsEmpty());
  EXPECT_FALSE(std::filesystem::exists(dir_ / "records/2026-08-01"));
  // A folder that is gone is made again.
  Append(5);
  EXPECT_THAT(Batches(), ElementsAre(5));
}

TEST_F(RetentionTest, ARemovedRecordIsNamedAndItsBatchIsNeverRecordedAgain) {
  for (int i = 1; i <= 2; ++i) Append(i);
  options_.max_age = absl::Seconds(1);
  clock_.Advance(absl::Hours(24));
  ASSERT_THAT(Run(), IsOk());
  EXPECT_THAT(store_->GetRecord(2),
              StatusIs(absl::StatusCode::kNotFound,
                       HasSubstr("record 2 has been removed")));
  EXPECT_THAT(store_->GetRecord(3), StatusIs(absl::StatusCode::kNotFound,
                                             HasSubstr("there is no record")));
  EXPECT_EQ(store_->HighWaterMark("s").value(), 2);
  const auto again = AppendAndWait(*store_, MakeNewRecord(MakeHeader("s", 1)));
  ASSERT_THAT(again, IsOk());
  EXPECT_TRUE(again->already_recorded);
  EXPECT_EQ(again->record_id, 0);
  v1::AddBatchResultHeader other = MakeHeader("s", 2);
  other.set_manifest_sha256(Sha256("another"));
  EXPECT_THAT(AppendAndWait(*store_, MakeNewRecord(other)),
              StatusIs(absl::StatusCode::kAlreadyExists));
  EXPECT_THAT(Batches(), IsEmpty());
  EXPECT_THAT(Files("records", ".jpg"), IsEmpty());
  // One that was never recorded is, however late it comes.
  Append(3);
  EXPECT_THAT(Batches(), ElementsAre(3));
}

TEST_F(RetentionTest, OfTooManyBytesTheOldestGoFirst) {
  // Removal begins a thirty-second below the limit and ends two below.
  // Sent in disorder: what counts is the capture.
  for (const int i : {3, 1, 5, 2, 4}) Append(i, 1 << 20);
  const int64_t each = 2 * ((1 << 20) + 4096);
  options_.max_bytes = Total() + Total() / 40;
  ASSERT_THAT(Run(), IsOk());
  EXPECT_THAT(Batches(), ElementsAre(5, 4, 3, 2));
  EXPECT_LT(Total(), options_.max_bytes);
  options_.max_bytes = Total() - each - each / 2;
  ASSERT_THAT(Run(), IsOk());
  EXPECT_THAT(Batches(), ElementsAre(5, 4));
  EXPECT_THAT(Files("records", ".jpg"), SizeIs(4));
}

TEST_F(RetentionTest, RecordsGridsAndFilesGoInOrderOfTheirTimes) {
  // 2 MB each.
  for (int i = 1; i <= 4; ++i) Append(i, 1'000'000);
  AddRotated(1, FirstFrame() + absl::Seconds(10), 2'000'000);
  AddGrid("a.jpg", FirstFrame() + absl::Seconds(40));
  AddRotated(2, FirstFrame() + absl::Seconds(70), 2'000'000);
  // Records, grids and files that are left.
  using Left = std::array<size_t, 3>;
  const Left order[] = {{4, 1, 2}, {3, 1, 2}, {3, 1, 1}, {2, 1, 1},
                        {2, 0, 1}, {1, 0, 1}, {1, 0, 0}, {0, 0, 0}};
  std::set<Left> seen;
  options_.max_bytes = Total() + 1'000'000;
  Left left = order[0];
  while (left != order[7]) {
    options_.max_bytes -= 700'000;
    ASSERT_GT(options_.max_bytes, 0);
    ASSERT_THAT(Run(), IsOk());
    left = {Batches().size(), Files("images", ".jpg").size(),
            ListRotatedPredictions(options_.predictions_path).size()};
    EXPECT_THAT(order, Contains(left));
    seen.insert(left);
  }
  EXPECT_GE(seen.size(), 5U);
}

TEST_F(RetentionTest, MuchThatIsTooOldGoesInSeveralRunsWithoutAPause) {
  for (int i = 1; i <= 80; ++i) Append(i);
  options_.max_age = absl::Seconds(1);
  options_.max_age_run = absl::ZeroDuration();
  options_.poll_interval = absl::Hours(1);
  clock_.Advance(absl::Hours(24));
  Retention retention(options_, *store_, clock_, *metrics_);
  EXPECT_TRUE(retention.RunOnce().value());
  EXPECT_THAT(Batches(), SizeIs(80 - 32));
  retention.Start();
  const absl::Time end = Clock::Real().Now() + kWait;
  while (!Batches().empty() && Clock::Real().Now() < end) {
    std::this_thread::yield();
  }
  EXPECT_THAT(Batches(), IsEmpty());
}

TEST_F(RetentionTest, ARecordThatIsNoLineYetIsKept) {
  Append(1);
  Append(2);
  ASSERT_THAT(store_->PutCursor({.generation = 1, .last_record_id = 1}),
              IsOk());
  options_.keep_unwritten = true;
  options_.max_age = absl::Seconds(1);
  clock_.Advance(absl::Hours(24));
  ASSERT_THAT(Run(), IsOk());
  EXPECT_THAT(Batches(), ElementsAre(2));
}

TEST_F(RetentionTest, TheLiveFileStaysAndItsSizeCounts) {
  Append(1);
  options_.max_bytes = Total() + 1000;
  testing::WriteText(options_.predictions_path, std::string(1 << 20, 'x'));
  EXPECT_THAT(Run(), StatusIs(absl::StatusCode::kResourceExhausted));
  EXPECT_THAT(Batches(), IsEmpty());
  EXPECT_TRUE(std::filesystem::exists(options_.predictions_path));
}

TEST_F(RetentionTest, TheDatabaseShrinks) {
  for (int i = 1; i <= 120; ++i) {
    v1::AddBatchResultHeader header = MakeHeader("s", i);
    header.mutable_manifest()->set_process_name(std::string(40'000, 'p'));
    NewRecord record = MakeNewRecord(header);
    ASSERT_THAT(AppendAndWait(*store_, std::move(record)), IsOk());
  }
  const auto size = [this] {
    // A checkpoint brings the pages from the log.
    auto db = SqliteDb::Open(DatabaseFile(dir_.path()), "").value();
    EXPECT_THAT(db->Exec("PRAGMA wal_checkpoint(TRUNCATE)"), IsOk());
    return std::filesystem::file_size(DatabaseFile(dir_.path()));
  };
  const auto before = size();
  ASSERT_GT(before, 4'500'000U);
  options_.max_age = absl::Seconds(1);
  clock_.Advance(absl::Hours(24 * 365));
  ASSERT_THAT(Run(), IsOk());
  EXPECT_LT(size(), before / 2);
}

TEST_F(RetentionTest, ExportsAndPagesBesideItHaveWholeRecordsOnly) {
  constexpr int kRecords = 160;
  for (int i = 1; i <= kRecords; ++i) Append(i, 2000);
  const RecordPosition position{
      .captured_us = absl::ToUnixMicros(FirstFrame() + absl::Seconds(30 * 99)),
      .record_id = 100};
  std::thread remover([&] {
    for (int i = 0; i < kRecords / 4; ++i) {
      ASSERT_THAT(store_->RemoveRecords({.limit = 4}), IsOk());
    }
  });
  int64_t lines = 0;
  for (int i = 0; i < 5; ++i) {
    RecordExport records =
        RecordExport::Create({.line = {.timezone = absl::UTCTimeZone()}},
                             *store_)
            .value();
    std::string text;
    while (true) {
      const auto piece = records.Next();
      ASSERT_THAT(piece, IsOk());
      if (piece->empty()) break;
      text += *piece;
    }
    EXPECT_EQ(records.pictures_missing(), 0);
    EXPECT_EQ(text.find("\"frame_base64\": null"), std::string::npos);
    int64_t last = 0;
    for (const absl::string_view line :
         absl::StrSplit(text, '\n', absl::SkipEmpty())) {
      const int64_t id = InspectLine(line).record_id;
      EXPECT_GT(id, last);
      last = id;
      ++lines;
    }
    // A page after a record that may be gone: what is older, if anything.
    const auto page = store_->ListRecords({}, position, 50).value();
    for (const v1::Record& record : page) {
      EXPECT_LT(record.record_id(), 100);
    }
  }
  remover.join();
  EXPECT_THAT(lines, Gt(0));
  EXPECT_THAT(Batches(), IsEmpty());
  EXPECT_THAT(store_->ListRecords({}, position, 50).value(), IsEmpty());
}

TEST_F(RetentionTest, TheWorkerKeepsTheLimitWhileRecordsCome) {
  // The log of the database takes most of it.
  options_.max_bytes = 24 << 20;
  options_.poll_interval = absl::Milliseconds(10);
  Retention retention(options_, *store_, Clock::Real(), *metrics_);
  retention.Start();
  for (int i = 1; i <= 100; ++i) Append(i, 100'000);
  const absl::Time end = Clock::Real().Now() + kWait;
  while (Total() > options_.max_bytes && Clock::Real().Now() < end) {
    std::this_thread::yield();
  }
  EXPECT_THAT(Total(), Le(options_.max_bytes));
  retention.Stop();
  // No gap in what is kept.
  const std::vector<int64_t> kept = Batches();
  ASSERT_FALSE(kept.empty());
  for (size_t i = 0; i < kept.size(); ++i) {
    EXPECT_EQ(kept[i], 100 - static_cast<int64_t>(i));
  }
}

}  // namespace
}  // namespace camherd::aggregator
