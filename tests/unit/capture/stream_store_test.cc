// SPDX-License-Identifier: Apache-2.0
#include "services/capture/stream_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sqlite3.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <csignal>
#include <string>

#include "tests/support/status_matchers.h"
#include "tests/unit/capture/supervisor_testbed.h"

namespace camherd::capture {
namespace {

using ::camherd::testing::IsOk;
using ::camherd::testing::StatusIs;
using testing::ExpectIdentities;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::TempDir;

constexpr char kSession[] = "01980000-0000-7000-8000-000000000002";

class StreamStoreTest : public ::testing::Test {
 protected:
  StreamStoreTest() { Open(); }

  void Open() {
    store_.reset();
    auto store = StreamStore::Open({.data_dir = dir_.path()});
    ASSERT_THAT(store, IsOk());
    store_ = *std::move(store);
  }

  void Insert() {
    StreamStore::StoredStream stream;
    stream.stream.set_stream_id("01980000-0000-7000-8000-000000000001");
    stream.stream.set_session_id(kSession);
    stream.stream.set_camera_id("demo");
    stream.stream.set_desired_running(true);
    stream.url = "rtsp://user:secret@127.0.0.1/demo";
    stream.last_activity = absl::FromUnixSeconds(1000);
    ASSERT_THAT(store_->InsertStream(stream), IsOk());
  }

  absl::Status Add(int64_t seq, bool ranked_only = false) {
    StreamStore::NewFrame frame;
    frame.session_id = kSession;
    frame.info.set_frame_seq(seq);
    frame.info.set_size_bytes(100);
    frame.ranked_only = ranked_only;
    return store_->AddFrame(frame, absl::FromUnixSeconds(1000 + seq));
  }

  absl::Status Seal(int64_t batch_seq, std::vector<int64_t> frames) {
    StreamStore::NewBatch batch;
    batch.key = {kSession, batch_seq};
    batch.sealed_at = absl::FromUnixSeconds(2000 + batch_seq) + clock_set_;
    batch.manifest = "manifest";
    batch.manifest_sha256 = "digest";
    batch.frame_seqs = std::move(frames);
    batch.bytes = 100 * static_cast<int64_t>(batch.frame_seqs.size());
    return store_->SealBatch(batch).status();
  }

  v1::Accounting Counters() {
    const auto accounting = store_->GetAccounting(kSession);
    EXPECT_THAT(accounting, IsOk());
    ExpectIdentities(*accounting);
    return *accounting;
  }

  TempDir dir_;
  absl::Duration clock_set_ = absl::ZeroDuration();
  std::unique_ptr<StreamStore> store_;
};

TEST_F(StreamStoreTest, IsReadableForItsOwnerOnly) {
  Insert();
  for (const char* name : {"/capture.db", "/capture.db-wal"}) {
    struct stat info = {};
    ASSERT_EQ(stat((dir_.path() + name).c_str(), &info), 0) << name;
    EXPECT_EQ(info.st_mode & 0777, 0600u) << name;
  }
}

TEST_F(StreamStoreTest, KeepsASecondServiceOut) {
  EXPECT_THAT(StreamStore::Open({.data_dir = dir_.path()}),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("another process")));
}

TEST_F(StreamStoreTest, RefusesADatabaseOfANewerVersion) {
  store_.reset();
  sqlite3* db = nullptr;
  ASSERT_EQ(sqlite3_open((dir_.path() + "/capture.db").c_str(), &db),
            SQLITE_OK);
  sqlite3_exec(db, "PRAGMA user_version=99", nullptr, nullptr, nullptr);
  sqlite3_close(db);
  EXPECT_THAT(
      StreamStore::Open({.data_dir = dir_.path()}),
      StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("version 99")));
}

TEST_F(StreamStoreTest, RefusesAFileThatIsNoDatabase) {
  store_.reset();
  ASSERT_THAT(WriteFileAtomically(dir_.path() + "/capture.db",
                                  std::string(8192, 'x'), Sync::kNone),
              IsOk());
  EXPECT_THAT(StreamStore::Open({.data_dir = dir_.path()}),
              StatusIs(absl::StatusCode::kDataLoss));
}

TEST_F(StreamStoreTest, RemembersStreamsAndMarksOverARestart) {
  Insert();
  ASSERT_THAT(Add(1), IsOk());
  ASSERT_THAT(Add(2), IsOk());
  ASSERT_THAT(Seal(1, {1, 2}), IsOk());
  Open();
  const auto streams = store_->LoadStreams();
  ASSERT_THAT(streams, IsOk());
  ASSERT_EQ(streams->size(), 1u);
  EXPECT_EQ((*streams)[0].url, "rtsp://user:secret@127.0.0.1/demo");
  EXPECT_EQ((*streams)[0].frame_seq, 2);
  EXPECT_EQ((*streams)[0].batch_seq, 1);
  EXPECT_EQ((*streams)[0].latest->frame_seq(), 2);
  EXPECT_EQ((*streams)[0].last_activity, absl::FromUnixSeconds(1002));
}

TEST_F(StreamStoreTest, RemembersWhyAStreamStoppedByItself) {
  Insert();
  ASSERT_THAT(Add(1), IsOk());
  StreamStore::StoredStream stored = store_->LoadStreams()->front();
  EXPECT_EQ(stored.stop_reason, "");
  EXPECT_EQ(stored.captured, 1);
  stored.stream.set_desired_running(false);
  ASSERT_THAT(store_->UpdateStream(stored.stream, stored.url, "", "its lease"),
              IsOk());
  Open();
  EXPECT_EQ(store_->LoadStreams()->front().stop_reason, "its lease");
}

TEST_F(StreamStoreTest, TheSecondSourceCountsItsFramesForItself) {
  Insert();
  ASSERT_THAT(Add(1), IsOk());
  StreamStore::NewFrame frame{
      .session_id = kSession, .info = {}, .detect = true};
  frame.info.set_frame_seq(1000);
  ASSERT_THAT(store_->AddFrame(frame, absl::FromUnixSeconds(1005)), IsOk());
  EXPECT_THAT(store_->AddFrame(frame, absl::FromUnixSeconds(1006)),
              StatusIs(absl::StatusCode::kNotFound));
  ASSERT_THAT(Add(2), IsOk());
  StreamStore::StoredStream stored = store_->LoadStreams()->front();
  ASSERT_THAT(store_->UpdateStream(stored.stream, stored.url, "rtsp://h/sub"),
              IsOk());
  ASSERT_THAT(store_->SaveConnection(kSession, true, "", 3, 2), IsOk());
  Open();
  stored = store_->LoadStreams()->front();
  EXPECT_EQ(stored.frame_seq, 2);
  EXPECT_EQ(stored.detect_frame_seq, 1000);
  EXPECT_EQ(stored.latest->frame_seq(), 2);
  EXPECT_EQ(stored.captured, 3);
  EXPECT_EQ(stored.detect_url, "rtsp://h/sub");
  EXPECT_EQ(stored.detect_connects, 3);
  EXPECT_EQ(stored.detect_disconnects, 2);
  EXPECT_EQ(stored.stream.connects(), 0);
}

// Version 1 as it was written, with a stream in it.
TEST_F(StreamStoreTest, TakesOverADatabaseOfBeforeLeases) {
  Insert();
  ASSERT_THAT(Add(1), IsOk());
  store_.reset();
  sqlite3* db = nullptr;
  ASSERT_EQ(sqlite3_open((dir_.path() + "/capture.db").c_str(), &db),
            SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(db,
                         "ALTER TABLE streams DROP COLUMN stop_reason;"
                         "ALTER TABLE streams DROP COLUMN detect_url;"
                         "ALTER TABLE sessions DROP COLUMN detect_frame_seq;"
                         "ALTER TABLE sessions DROP COLUMN detect_connects;"
                         "ALTER TABLE sessions DROP COLUMN detect_disconnects;"
                         "DROP TABLE cameras;"
                         "PRAGMA user_version=1",
                         nullptr, nullptr, nullptr),
            SQLITE_OK);
  sqlite3_close(db);
  Open();
  const auto streams = store_->LoadStreams();
  ASSERT_THAT(streams, IsOk());
  ASSERT_EQ(streams->size(), 1u);
  EXPECT_EQ(streams->front().stop_reason, "");
  EXPECT_EQ(streams->front().captured, 1);
}

TEST_F(StreamStoreTest, CountsAFrameInOneOfItsPlacesAtATime) {
  Insert();
  for (int seq = 1; seq <= 4; ++seq) ASSERT_THAT(Add(seq), IsOk());
  ASSERT_THAT(Add(5, /*ranked_only=*/true), IsOk());
  ASSERT_THAT(
      store_->AddMissed(kSession, "late", 3, absl::FromUnixSeconds(1100)),
      IsOk());
  ASSERT_THAT(Seal(1, {1, 2}), IsOk());
  ASSERT_THAT(Seal(2, {3}), IsOk());
  EXPECT_EQ(Counters().spooled(), 4);
  ASSERT_THAT(store_->BatchRecorded({kSession, 1}, std::nullopt), IsOk());
  ASSERT_THAT(store_->BatchDropped({kSession, 2}, "quota"), IsOk());
  ASSERT_THAT(store_->DropFrames(kSession, {4, 99}, "file_lost"), IsOk());
  const v1::Accounting counters = Counters();
  EXPECT_EQ(counters.due(), 8);
  EXPECT_EQ(counters.captured(), 5);
  EXPECT_EQ(counters.recorded(), 2);
  EXPECT_EQ(counters.dropped().at("quota"), 1);
  EXPECT_EQ(counters.dropped().at("file_lost"), 1);
  EXPECT_EQ(counters.ranked_only(), 1);
  EXPECT_EQ(counters.spooled(), 0);
}

TEST_F(StreamStoreTest, NeverUsesAFrameNumberTwice) {
  Insert();
  ASSERT_THAT(Add(7), IsOk());
  EXPECT_THAT(Add(7), StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(Add(3), StatusIs(absl::StatusCode::kNotFound));
  EXPECT_EQ(Counters().captured(), 1);
}

TEST_F(StreamStoreTest, SealsBatchesWithoutGapsAndNoFrameTwice) {
  Insert();
  ASSERT_THAT(Add(1), IsOk());
  ASSERT_THAT(Add(2), IsOk());
  EXPECT_THAT(Seal(2, {1}), StatusIs(absl::StatusCode::kInternal));
  ASSERT_THAT(Seal(1, {1}), IsOk());
  EXPECT_THAT(Seal(2, {1, 2}), StatusIs(absl::StatusCode::kInternal));
  // The refused one left nothing behind.
  ASSERT_THAT(Seal(2, {2}), IsOk());
}

TEST_F(StreamStoreTest, SettlesABatchOnce) {
  Insert();
  ASSERT_THAT(Add(1), IsOk());
  ASSERT_THAT(Seal(1, {1}), IsOk());
  ASSERT_THAT(store_->BatchRecorded({kSession, 1}, std::nullopt), IsOk());
  EXPECT_THAT(store_->BatchRecorded({kSession, 1}, std::nullopt),
              StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(store_->BatchDropped({kSession, 1}, "quota"),
              StatusIs(absl::StatusCode::kNotFound));
  EXPECT_EQ(Counters().recorded(), 1);
}

TEST_F(StreamStoreTest, OffersForDroppingOnlyWhatIsKnownNotToBeRecorded) {
  Insert();
  ASSERT_THAT(Add(1), IsOk());
  ASSERT_THAT(Add(2), IsOk());
  ASSERT_THAT(Seal(1, {1}), IsOk());
  ASSERT_THAT(Seal(2, {2}), IsOk());
  ASSERT_THAT(store_->SetFateUnknown({kSession, 1}, true), IsOk());
  const auto rows = store_->OldestDroppable("", 10);
  ASSERT_THAT(rows, IsOk());
  ASSERT_EQ(rows->size(), 1u);
  EXPECT_EQ((*rows)[0].key.batch_seq, 2);
}

TEST_F(StreamStoreTest, AClockAnHourBackMakesNoLaterBatchTheOlder) {
  Insert();
  for (int64_t seq = 1; seq <= 3; ++seq) {
    ASSERT_THAT(Add(seq), IsOk());
    ASSERT_THAT(Seal(seq, {seq}), IsOk());
    if (seq == 1) {
      ASSERT_THAT(store_->SetFateUnknown({kSession, 1}, true), IsOk());
    }
    clock_set_ = -absl::Hours(1);
  }
  const auto droppable = store_->OldestDroppable("", 10);
  ASSERT_THAT(droppable, IsOk());
  ASSERT_EQ(droppable->size(), 2u);
  EXPECT_EQ((*droppable)[0].key.batch_seq, 2);
  const auto all = store_->ListBatches();
  ASSERT_THAT(all, IsOk());
  ASSERT_EQ(all->size(), 3u);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ((*all)[i].key.batch_seq, static_cast<int64_t>(i) + 1);
    EXPECT_GE((*all)[i].sealed_at, absl::FromUnixSeconds(2001));
  }
}

TEST_F(StreamStoreTest, TellsThatItCannotBeWrittenUntilItCan) {
  Insert();
  ASSERT_THAT(Add(1), IsOk());
  // What is wrong with a change is not the disk's fault.
  EXPECT_THAT(Add(1), Not(IsOk()));
  EXPECT_THAT(store_->TryWrite(), IsOk());

  rlimit before = {};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit none = {.rlim_cur = 0, .rlim_max = before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &none), 0);
  const absl::Status added = Add(2);
  const absl::Status tried = store_->TryWrite();
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  EXPECT_THAT(added, Not(IsOk()));
  EXPECT_THAT(tried.message(), HasSubstr("disk I/O error"));

  EXPECT_THAT(store_->TryWrite(), IsOk());
  EXPECT_THAT(Add(2), IsOk());
  Open();
  EXPECT_EQ(Counters().captured(), 2);
}

TEST_F(StreamStoreTest, CountsOfAForgottenStreamLiveOnInTheTotals) {
  Insert();
  ASSERT_THAT(Add(1), IsOk());
  ASSERT_THAT(Add(2), IsOk());
  ASSERT_THAT(Seal(1, {1}), IsOk());
  ASSERT_THAT(store_->RemoveStream("01980000-0000-7000-8000-000000000001"),
              IsOk());
  const auto all = store_->AllAccounting();
  ASSERT_THAT(all, IsOk());
  ASSERT_EQ(all->size(), 1u);
  ExpectIdentities(all->at(""));
  EXPECT_EQ(all->at("").captured(), 2);
  EXPECT_EQ(all->at("").dropped().at("deleted"), 2);
  EXPECT_EQ(store_->SpooledBytes("").value(), 0);
}

}  // namespace
}  // namespace camherd::capture
