// SPDX-License-Identifier: Apache-2.0
#include "services/aggregator/sqlite_record_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sqlite3.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <filesystem>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/types/span.h"
#include "services/aggregator/data_layout.h"
#include "services/aggregator/sqlite_record_store_schema.h"
#include "tests/support/fake_clock.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"
#include "tests/unit/aggregator/aggregator_testing.h"

namespace camherd::aggregator {
namespace {

using ::camherd::aggregator::testing::AddDetection;
using ::camherd::aggregator::testing::AppendAndWait;
using ::camherd::aggregator::testing::FakePicture;
using ::camherd::aggregator::testing::FirstFrame;
using ::camherd::aggregator::testing::MakeHeader;
using ::camherd::aggregator::testing::MakeNewRecord;
using ::camherd::testing::FakeClock;
using ::camherd::testing::IsOk;
using ::camherd::testing::StatusIs;
using ::camherd::testing::TempDir;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class SqliteRecordStoreTest : public ::testing::Test {
 protected:
  SqliteRecordStoreTest() { Open(); }

  void Open(SqliteRecordStore::Options options = {}) {
    store_ = nullptr;
    options.data_dir = dir_.path();
    auto store = SqliteRecordStore::Create(options, clock_);
    ASSERT_THAT(store, IsOk());
    store_ = *std::move(store);
  }

  AppendResult Append(const v1::AddBatchResultHeader& header) {
    const auto result = AppendAndWait(*store_, MakeNewRecord(header));
    EXPECT_THAT(result, IsOk());
    return result.value_or(AppendResult());
  }

  std::vector<int64_t> Ids(const RecordFilter& filter) {
    const auto records = store_->ListRecords(filter, std::nullopt, 1000);
    EXPECT_THAT(records, IsOk());
    std::vector<int64_t> ids;
    for (const v1::Record& record : *records) ids.push_back(record.record_id());
    return ids;
  }

  int64_t Pragma(const std::string& name) {
    auto db = SqliteDb::Open(DatabaseFile(dir_.path()), "").value();
    int64_t value = -1;
    EXPECT_THAT(
        db->Query("PRAGMA " + name,
                  [&](const SqliteDb::Row& row) { value = row.Int(0); }),
        IsOk());
    return value;
  }

  TempDir dir_;
  FakeClock clock_;
  std::unique_ptr<SqliteRecordStore> store_;
};

TEST_F(SqliteRecordStoreTest, TheFileIsLaidOutForLargeRecords) {
  EXPECT_EQ(Pragma("page_size"), 16384);
  EXPECT_EQ(Pragma("auto_vacuum"), 2);  // Incremental.
  EXPECT_EQ(Pragma("user_version"), 2);
  EXPECT_EQ(Pragma("synchronous"), 2);  // Full.
}

TEST_F(SqliteRecordStoreTest, ARecordIsThereAfterReopeningWithItsPictures) {
  v1::AddBatchResultHeader header = MakeHeader("s", 1);
  AddDetection(header, "dog", 1, 0.9F);
  EXPECT_EQ(Append(header).record_id, 1);
  Open();
  const auto stored = store_->GetRecord(1);
  ASSERT_THAT(stored, IsOk());
  EXPECT_EQ(stored->record.session_id(), "s");
  EXPECT_EQ(FromProto(stored->record.recorded_at()), clock_.Now());
  ASSERT_THAT(stored->pictures, SizeIs(2));
  EXPECT_THAT(stored->pictures[1].path,
              HasSubstr("records/2026-08-01/10/s_1_1_"));
  EXPECT_EQ(store_->ReadPicture(stored->pictures[1]).value(),
            FakePicture("s", 1, 1));
  EXPECT_EQ(store_->LastRecordId(), 1);
}

TEST_F(SqliteRecordStoreTest, TheSameBatchAgainIsTheSameRecord) {
  const v1::AddBatchResultHeader header = MakeHeader("s", 1);
  const AppendResult first = Append(header);
  EXPECT_FALSE(first.already_recorded);
  Open();
  const AppendResult second = Append(header);
  EXPECT_TRUE(second.already_recorded);
  EXPECT_EQ(second.record_id, first.record_id);
  EXPECT_THAT(Ids({}), ElementsAre(1));
}

TEST_F(SqliteRecordStoreTest, TheSameNameWithAnotherManifestIsAConflict) {
  v1::AddBatchResultHeader header = MakeHeader("s", 1);
  Append(header);
  header.set_manifest_sha256(Sha256("another"));
  EXPECT_THAT(AppendAndWait(*store_, MakeNewRecord(header)),
              StatusIs(absl::StatusCode::kAlreadyExists,
                       HasSubstr("batch 1 of session s")));
  EXPECT_THAT(Ids({}), ElementsAre(1));
}

TEST_F(SqliteRecordStoreTest, NamesAndHighWaterMarksOutliveRetention) {
  Append(MakeHeader("s", 7));
  Append(MakeHeader("s", 3));
  {
    auto db = SqliteDb::Open(DatabaseFile(dir_.path()), "").value();
    ASSERT_THAT(db->Exec("DELETE FROM records"), IsOk());
  }
  Open();
  EXPECT_EQ(store_->HighWaterMark("s").value(), 7);
  EXPECT_EQ(store_->HighWaterMark("other").value(), 0);
  EXPECT_TRUE(Append(MakeHeader("s", 7)).already_recorded);
  // Numbers are not used again either.
  EXPECT_EQ(Append(MakeHeader("s", 8)).record_id, 3);
}

TEST_F(SqliteRecordStoreTest, ListsNewestFirstByEveryFilter) {
  v1::AddBatchResultHeader dog = MakeHeader("s1", 3);
  AddDetection(dog, "dog", 0, 0.9F);
  v1::AddBatchResultHeader cat = MakeHeader("s1", 1);
  AddDetection(cat, "cat", 0, 0.9F);
  v1::AddBatchResultHeader other = MakeHeader("s2", 2);
  other.mutable_manifest()->set_camera_id("CAM-002");
  AddDetection(other, "dog", 0, 0.9F);
  Append(dog);    // 1, captured last.
  Append(cat);    // 2, captured first.
  Append(other);  // 3.
  EXPECT_THAT(Ids({}), ElementsAre(1, 3, 2));
  EXPECT_THAT(Ids({.class_name = "dog"}), ElementsAre(1, 3));
  EXPECT_THAT(Ids({.camera_id = "CAM-001"}), ElementsAre(1, 2));
  EXPECT_THAT(Ids({.camera_id = "CAM-001", .class_name = "dog"}),
              ElementsAre(1));
  EXPECT_THAT(Ids({.camera_ids = {"CAM-001", "CAM-009"}}), ElementsAre(1, 2));
  EXPECT_THAT(Ids({.camera_ids = {"CAM-001", "CAM-002"}}),
              ElementsAre(1, 3, 2));
  EXPECT_THAT(Ids({.camera_id = "CAM-001", .camera_ids = {"CAM-002"}}),
              IsEmpty());
  EXPECT_THAT(Ids({.camera_ids = {"CAM-002"}, .class_name = "dog"}),
              ElementsAre(3));
  EXPECT_THAT(store_->RecordsAfter({.camera_ids = {"CAM-001"}}, 0, 10).value(),
              SizeIs(2));
  EXPECT_THAT(Ids({.complaint_type = "stray_animal"}), ElementsAre(1, 3));
  EXPECT_THAT(Ids({.class_name = "cat", .complaint_type = "stray_animal"}),
              IsEmpty());
  EXPECT_THAT(Ids({.session_id = "s1"}), ElementsAre(1, 2));
  EXPECT_THAT(Ids({.class_name = "dog", .session_id = "s2"}), ElementsAre(3));
  EXPECT_THAT(Ids({.since = FirstFrame() + absl::Seconds(30),
                   .until = FirstFrame() + absl::Seconds(60)}),
              ElementsAre(3));
}

// Whichever index it goes by, a list holds what fits, in its order.
TEST_F(SqliteRecordStoreTest, AnyFiltersTogetherListWhatFits) {
  std::mt19937 random(20261123);
  const auto pick = [&random](int n) { return static_cast<int>(random() % n); };
  const std::vector<std::string> classes = {"dog", "cat", "person"};
  struct Made {
    int64_t id;
    std::string session, camera, class_name;
    absl::Time at;
  };
  std::vector<Made> made;
  for (int i = 1; i <= 120; ++i) {
    const std::string session = absl::StrCat("s", pick(6));
    v1::AddBatchResultHeader header = MakeHeader(session, i);
    const std::string camera = absl::StrCat("CAM-", pick(3));
    header.mutable_manifest()->set_camera_id(camera);
    const std::string class_name = classes[pick(3)];
    AddDetection(header, class_name, 0, 0.9F);
    made.push_back({Append(header).record_id, session, camera, class_name,
                    FirstFrame() + absl::Seconds(30 * (i - 1))});
  }
  std::sort(made.begin(), made.end(),
            [](const Made& a, const Made& b) { return a.at > b.at; });
  for (int round = 0; round < 300; ++round) {
    RecordFilter filter;
    if (pick(2) == 0) filter.session_id = absl::StrCat("s", pick(7));
    if (pick(2) == 0) filter.camera_id = absl::StrCat("CAM-", pick(4));
    if (pick(2) == 0) filter.class_name = classes[pick(3)];
    // Only a dog is a complaint.
    if (pick(2) == 0) filter.complaint_type = "stray_animal";
    if (pick(3) == 0) {
      filter.since = FirstFrame() + absl::Seconds(30 * pick(120));
    }
    if (pick(3) == 0) {
      filter.until = FirstFrame() + absl::Seconds(30 * pick(120));
    }
    std::vector<int64_t> expected;
    for (const Made& record : made) {
      if ((filter.session_id.empty() || filter.session_id == record.session) &&
          (filter.camera_id.empty() || filter.camera_id == record.camera) &&
          (filter.class_name.empty() ||
           filter.class_name == record.class_name) &&
          (filter.complaint_type.empty() || record.class_name == "dog") &&
          record.at >= filter.since && record.at < filter.until) {
        expected.push_back(record.id);
      }
    }
    ASSERT_EQ(Ids(filter), expected);
    const std::vector<StoredRecord> after_none =
        store_->RecordsAfter(filter, 0, 1000).value();
    std::vector<int64_t> in_commits;
    for (const StoredRecord& stored : after_none) {
      in_commits.push_back(stored.record.record_id());
    }
    std::sort(expected.begin(), expected.end());
    ASSERT_EQ(in_commits, expected);
  }
}

TEST_F(SqliteRecordStoreTest, PagesJoinWithoutGapWhileRecordsAreAdded) {
  for (int i = 1; i <= 5; ++i) Append(MakeHeader("s", i));
  const auto first = store_->ListRecords({}, std::nullopt, 2).value();
  ASSERT_THAT(first, SizeIs(2));
  EXPECT_EQ(first[1].record_id(), 4);
  Append(MakeHeader("s", 6));
  const RecordPosition after{
      .captured_us = absl::ToUnixMicros(FromProto(first[1].captured_at())),
      .record_id = first[1].record_id()};
  const auto second = store_->ListRecords({}, after, 10).value();
  ASSERT_THAT(second, SizeIs(3));
  EXPECT_EQ(second[0].record_id(), 3);
}

TEST_F(SqliteRecordStoreTest, IdsAscendInOrderOfCommitWhenTheClockGoesBack) {
  Append(MakeHeader("s", 1));
  clock_.StepWallClock(-absl::Hours(1));
  Append(MakeHeader("s", 2));
  const auto records = store_->RecordsAfter({}, 0, 10).value();
  ASSERT_THAT(records, SizeIs(2));
  EXPECT_EQ(records[1].record.batch_seq(), 2);
  EXPECT_LT(FromProto(records[1].record.recorded_at()),
            FromProto(records[0].record.recorded_at()));
}

TEST_F(SqliteRecordStoreTest, ACaptureClockAnHourBackLosesAndRepeatsNothing) {
  std::vector<int64_t> by_capture;
  for (int64_t seq = 1; seq <= 6; ++seq) {
    v1::AddBatchResultHeader header = MakeHeader("s", seq);
    if (seq > 3) {
      for (v1::FrameInfo& frame :
           *header.mutable_manifest()->mutable_frames()) {
        *frame.mutable_captured_at() =
            ToProto(FromProto(frame.captured_at()) - absl::Hours(1));
      }
    }
    EXPECT_EQ(Append(header).record_id, seq);
    EXPECT_EQ(store_->HighWaterMark("s").value(), seq);
    EXPECT_TRUE(Append(header).already_recorded);
  }
  // Listed by what the clock said, page by page, each once.
  std::optional<RecordPosition> after;
  for (int page = 0; page < 3; ++page) {
    const auto records = store_->ListRecords({}, after, 2).value();
    ASSERT_THAT(records, SizeIs(2));
    for (const v1::Record& record : records) {
      by_capture.push_back(record.batch_seq());
      after = {
          .captured_us = absl::ToUnixMicros(FromProto(record.captured_at())),
          .record_id = record.record_id()};
    }
  }
  EXPECT_THAT(by_capture, ElementsAre(3, 2, 1, 6, 5, 4));
  // Followed in the order in which they were taken and committed.
  std::vector<int64_t> by_commit;
  const auto followed = store_->RecordsAfter({}, 0, 10).value();
  for (const StoredRecord& stored : followed) {
    by_commit.push_back(stored.record.batch_seq());
  }
  EXPECT_THAT(by_commit, ElementsAre(1, 2, 3, 4, 5, 6));
}

TEST_F(SqliteRecordStoreTest, SendersAtTheSameTimeShareACommit) {
  std::atomic<size_t> groups = 0;
  std::atomic<size_t> largest = 0;
  absl::Notification first_in_commit;
  absl::Notification go_on;
  std::atomic<bool> held = false;
  SqliteRecordStore::Options options;
  options.group_hook = [&](size_t records) {
    ++groups;
    largest = std::max<size_t>(largest, records);
  };
  options.step_hook = [&](absl::string_view step) {
    if (step == "group inserted" && !held.exchange(true)) {
      first_in_commit.Notify();
      go_on.WaitForNotification();
    }
  };
  Open(options);
  std::vector<std::thread> senders;
  senders.emplace_back([&] { Append(MakeHeader("first", 1)); });
  first_in_commit.WaitForNotification();
  std::atomic<int> left = 8;
  absl::Notification all;
  for (int i = 0; i < 8; ++i) {
    // Returns when the pictures are written; the row waits for the group.
    store_->Append(MakeNewRecord(MakeHeader(absl::StrCat("s", i), 1)),
                   [&](const absl::StatusOr<AppendResult>& result) {
                     EXPECT_THAT(result, IsOk());
                     if (--left == 0) all.Notify();
                   });
  }
  go_on.Notify();
  all.WaitForNotification();
  for (std::thread& sender : senders) sender.join();
  EXPECT_EQ(groups, 2U);
  EXPECT_EQ(largest, 8U);
}

TEST_F(SqliteRecordStoreTest, AwaitCommitterWaitsForACommitThatIsUnderWay) {
  absl::Notification in_commit;
  absl::Notification go_on;
  std::atomic<bool> committed = false;
  SqliteRecordStore::Options options;
  options.step_hook = [&](absl::string_view step) {
    if (step == "group inserted") {
      in_commit.Notify();
      go_on.WaitForNotification();
    }
    if (step == "group committed") committed = true;
  };
  Open(options);
  store_->AwaitCommitter();
  std::thread sender([&] { Append(MakeHeader("first", 1)); });
  in_commit.WaitForNotification();
  std::atomic<bool> back = false;
  std::thread watchdog([&] {
    store_->AwaitCommitter();
    EXPECT_TRUE(committed);
    back = true;
  });
  EXPECT_FALSE(back);
  go_on.Notify();
  watchdog.join();
  sender.join();
}

TEST_F(SqliteRecordStoreTest, TheSameBatchFromManySendersAtOnceIsOneRecord) {
  std::vector<std::thread> senders;
  std::atomic<int> fresh = 0;
  for (int i = 0; i < 8; ++i) {
    senders.emplace_back([&] {
      if (!Append(MakeHeader("s", 1)).already_recorded) ++fresh;
    });
  }
  for (std::thread& sender : senders) sender.join();
  EXPECT_EQ(fresh, 1);
  EXPECT_THAT(Ids({}), ElementsAre(1));
}

TEST_F(SqliteRecordStoreTest, AFullDiskRefusesTheBatchAndLeavesNothing) {
  SqliteRecordStore::Options options;
  bool full = true;
  options.sync = [&](int fd) {
    if (!full) return ::fdatasync(fd);
    errno = ENOSPC;
    return -1;
  };
  Open(options);
  EXPECT_THAT(AppendAndWait(*store_, MakeNewRecord(MakeHeader("s", 1))),
              StatusIs(absl::StatusCode::kResourceExhausted));
  full = false;
  EXPECT_FALSE(Append(MakeHeader("s", 1)).already_recorded);
}

using SqliteRecordStoreDeathTest = SqliteRecordStoreTest;

TEST_F(SqliteRecordStoreDeathTest, AFailedFsyncEndsTheProcess) {
  ::testing::FLAGS_gtest_death_test_style = "threadsafe";
  SqliteRecordStore::Options options;
  options.sync = [](int) {
    errno = EIO;
    return -1;
  };
  Open(options);
  EXPECT_DEATH(store_->Append(MakeNewRecord(MakeHeader("s", 1)),
                              [](const absl::StatusOr<AppendResult>&) {}),
               "fsync of a picture failed");
}

TEST_F(SqliteRecordStoreTest, RefusesAStoreOfANewerProgram) {
  store_ = nullptr;
  {
    auto db = SqliteDb::Open(DatabaseFile(dir_.path()), "").value();
    ASSERT_THAT(db->Exec("PRAGMA user_version=99"), IsOk());
  }
  EXPECT_THAT(SqliteRecordStore::Create({.data_dir = dir_.path()}, clock_),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("has schema version 99")));
}

TEST_F(SqliteRecordStoreTest, AStoreOfVersionOneIsBroughtUpToDate) {
  store_ = nullptr;
  const std::string path = DatabaseFile(dir_.path());
  ASSERT_TRUE(std::filesystem::remove(path));
  {
    auto db = SqliteDb::Open(path, "PRAGMA page_size=16384").value();
    ASSERT_THAT(db->Migrate(absl::MakeConstSpan(kMigrations, 1)), IsOk());
    v1::Record record;
    record.set_session_id("s");
    record.set_batch_seq(1);
    ASSERT_THAT(db->Run("INSERT INTO records VALUES(1,'s',1,'c',7,8,?)",
                        SqliteDb::Blob{record.SerializeAsString()}),
                IsOk());
    ASSERT_THAT(
        db->Exec("INSERT INTO pictures VALUES(1,0,'records/a.jpg',100);"
                 "INSERT INTO pictures VALUES(1,1,'records/b.jpg',5000);"
                 "INSERT INTO cursor VALUES(1,2,3000,1)"),
        IsOk());
  }
  Open();
  EXPECT_EQ(Pragma("user_version"), 2);
  EXPECT_EQ(store_->GetRecord(1)->record.session_id(), "s");
  EXPECT_EQ(store_->GetUsage()->picture_bytes, 3 * 4096);
  EXPECT_EQ(store_->GetUsage()->oldest_record, absl::FromUnixMicros(7));
  const PredictionsCursor cursor = store_->GetCursor().value();
  EXPECT_EQ(cursor.generation, 2);
  EXPECT_EQ(cursor.offset, 3000);
  EXPECT_EQ(cursor.last_record_id, 1);
  EXPECT_EQ(cursor.rotated, 0);
  EXPECT_EQ(Append(MakeHeader("s", 2)).record_id, 2);
  EXPECT_EQ(store_->GetUsage()->picture_bytes, 5 * 4096);
}

TEST_F(SqliteRecordStoreTest, UsageFollowsRecordsAndGrids) {
  EXPECT_EQ(store_->GetUsage()->oldest_record, absl::InfiniteFuture());
  EXPECT_EQ(store_->GetUsage()->oldest_grid, absl::InfiniteFuture());
  Append(MakeHeader("s", 2));
  Append(MakeHeader("s", 1));
  v1::Grid grid;
  grid.set_file_name("a.jpg");
  *grid.mutable_rendered_at() = ToProto(FirstFrame());
  ASSERT_THAT(store_->AddGrid(grid, "k", 4097), IsOk());
  Open();
  StoreUsage usage = store_->GetUsage().value();
  EXPECT_EQ(usage.picture_bytes, 4 * 4096);
  EXPECT_EQ(usage.grid_bytes, 2 * 4096);
  EXPECT_GT(usage.database_bytes, 16384);
  EXPECT_EQ(usage.oldest_record, FirstFrame());
  EXPECT_EQ(usage.oldest_grid, FirstFrame());
  const RemovedItems removed = store_->RemoveRecords({.limit = 1}).value();
  EXPECT_EQ(removed.count, 1);
  EXPECT_EQ(removed.bytes, 2 * 4096);
  EXPECT_EQ(store_->RemoveGrids({})->count, 1);
  usage = store_->GetUsage().value();
  EXPECT_EQ(usage.picture_bytes, 2 * 4096);
  EXPECT_EQ(usage.grid_bytes, 0);
  EXPECT_EQ(usage.oldest_record, FirstFrame() + absl::Seconds(30));
}

TEST_F(SqliteRecordStoreTest, OfARemovedAndAnImportedBatchTheNameAloneTells) {
  const auto imported = [](int64_t batch_seq) {
    NewRecord record = MakeNewRecord(MakeHeader("s", batch_seq));
    record.record.set_imported(true);
    record.manifest_sha256.clear();
    return record;
  };
  Append(MakeHeader("s", 1));
  ASSERT_THAT(AppendAndWait(*store_, imported(2)), IsOk());
  EXPECT_EQ(store_->RemoveRecords({})->count, 2);
  // Recorded once, then imported; and the reverse.
  for (const NewRecord& again :
       {imported(1), MakeNewRecord(MakeHeader("s", 2))}) {
    const auto result = AppendAndWait(*store_, again);
    ASSERT_THAT(result, IsOk());
    EXPECT_TRUE(result->already_recorded);
    EXPECT_EQ(result->record_id, 0);
  }
}

// As a crash before the commit leaves them.
TEST_F(SqliteRecordStoreTest, PicturesThatNoRecordNamesGoAtAStart) {
  Append(MakeHeader("s_1", 1));
  const v1::AddBatchResultHeader lost = MakeHeader("s_1", 2);
  const std::string folder = dir_ / PictureFolder(FirstFrame());
  const auto path_of = [&](int frame) {
    return absl::StrCat(
        folder, "/",
        PictureName("s_1", 2, frame, lost.manifest().frames(frame).sha256()));
  };
  for (int frame = 0; frame < 2; ++frame) {
    testing::WriteText(path_of(frame), "unnamed");
  }
  testing::WriteText(folder + "/mine.jpg", "not ours");
  absl::Notification opened;
  absl::Notification swept;
  SqliteRecordStore::Options options;
  std::atomic<bool> came = false;
  options.step_hook = [&](absl::string_view step) {
    // The first is found, and comes again before it is removed.
    if (step == "unnamed picture found" && !came.exchange(true)) {
      opened.WaitForNotification();
      EXPECT_FALSE(Append(lost).already_recorded);
    }
    if (step == "pictures swept") swept.Notify();
  };
  const std::string other =
      absl::StrCat(folder, "/", PictureName("s_1", 3, 0, "hash"));
  testing::WriteText(other, "unnamed");
  Open(options);
  opened.Notify();
  swept.WaitForNotification();
  EXPECT_FALSE(std::filesystem::exists(other));
  EXPECT_TRUE(std::filesystem::exists(folder + "/mine.jpg"));
  for (int64_t id = 1; id <= 2; ++id) {
    const auto stored = store_->GetRecord(id);
    ASSERT_THAT(stored, IsOk());
    for (const StoredPicture& picture : stored->pictures) {
      EXPECT_EQ(store_->ReadPicture(picture).value_or("gone"),
                FakePicture("s_1", id, picture.frame_index));
    }
  }
}

TEST_F(SqliteRecordStoreTest, ABatchRemovedWhileItComesAgainLeavesNoPictures) {
  // The second call looks before the first is recorded, and writes its
  // pictures when the record has been removed.
  std::atomic<int> written = 0;
  SqliteRecordStore::Options options;
  absl::Notification removed;
  options.step_hook = [&](absl::string_view step) {
    if (step == "pictures written" && ++written == 1) {
      removed.WaitForNotification();
    }
  };
  Open(options);
  absl::StatusOr<AppendResult> second;
  std::thread late([&] {
    second = AppendAndWait(*store_, MakeNewRecord(MakeHeader("s", 1)));
  });
  while (written.load() == 0) std::this_thread::yield();
  EXPECT_FALSE(Append(MakeHeader("s", 1)).already_recorded);
  EXPECT_EQ(store_->RemoveRecords({})->count, 1);
  // As if they were written only now.
  const v1::AddBatchResultHeader header = MakeHeader("s", 1);
  const std::string path = absl::StrCat(
      dir_.path(), "/", PictureFolder(FirstFrame()), "/",
      PictureName("s", 1, 0, header.manifest().frames(0).sha256()));
  std::filesystem::create_directories(
      std::filesystem::path(path).parent_path());
  testing::WriteText(path, "late");
  removed.Notify();
  late.join();
  ASSERT_THAT(second, IsOk());
  EXPECT_TRUE(second->already_recorded);
  EXPECT_EQ(store_->RemoveRecords({})->count, 0);
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST_F(SqliteRecordStoreTest, AFileThatIsNoDatabaseIsNamed) {
  store_ = nullptr;
  testing::WriteText(DatabaseFile(dir_.path()), std::string(20000, 'x'));
  EXPECT_THAT(SqliteRecordStore::Create({.data_dir = dir_.path()}, clock_),
              StatusIs(absl::StatusCode::kDataLoss));
}

TEST_F(SqliteRecordStoreTest, GridsAreListedNewestFirstAndFoundByTheirFrames) {
  v1::Grid grid;
  grid.set_session_id("s");
  grid.set_process_name("demo");
  grid.set_file_name("a.jpg");
  ASSERT_THAT(store_->AddGrid(grid, "k1", 5000), IsOk());
  EXPECT_THAT(store_->AddGrid(grid, "k1", 5000),
              StatusIs(absl::StatusCode::kAlreadyExists));
  grid.set_file_name("b.jpg");
  ASSERT_THAT(store_->AddGrid(grid, "k2", 5000), IsOk());
  EXPECT_EQ(store_->FindGrid("s", "k1").value()->file_name(), "a.jpg");
  EXPECT_FALSE(store_->FindGrid("s", "k3").value().has_value());
  const auto grids = store_->ListGrids("demo", INT64_MAX, 10).value();
  ASSERT_THAT(grids, SizeIs(2));
  EXPECT_EQ(grids[0].grid.file_name(), "b.jpg");
  EXPECT_THAT(store_->ListGrids("demo", grids[0].grid_id, 10).value(),
              SizeIs(1));
  EXPECT_THAT(store_->ListGrids("other", INT64_MAX, 10).value(), IsEmpty());
}

}  // namespace
}  // namespace camherd::aggregator
