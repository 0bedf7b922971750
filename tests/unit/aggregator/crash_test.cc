// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "absl/strings/str_split.h"
#include "services/aggregator/data_layout.h"
#include "services/aggregator/predictions_file.h"
#include "services/aggregator/predictions_file_recovery.h"
#include "services/aggregator/rotated_predictions.h"
#include "services/aggregator/sqlite_record_store.h"
#include "services/common/folder_lock.h"
#include "tests/support/fake_clock.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"
#include "tests/unit/aggregator/aggregator_testing.h"

// The aggregator's disk state after a process that ended at any step: a child
// process records batches until the step named, and is gone; then the parent
// opens what is left, sends all batches again, and looks.
namespace camherd::aggregator {
namespace {

using ::camherd::aggregator::testing::AppendAndWait;
using ::camherd::aggregator::testing::FakePicture;
using ::camherd::aggregator::testing::MakeHeader;
using ::camherd::aggregator::testing::MakeMetrics;
using ::camherd::aggregator::testing::MakeNewRecord;
using ::camherd::aggregator::testing::ReadText;
using ::camherd::testing::FakeClock;
using ::camherd::testing::IsOk;
using ::camherd::testing::TempDir;
using ::testing::ElementsAre;

constexpr int kBatches = 3;
constexpr int kCrashed = 86;
constexpr absl::Duration kWait = absl::Seconds(30);

struct Crash {
  std::string name;
  std::string step;  // Of store or file; empty: in the middle of a write.
  int occurrence = 1;
  // Each record in a file of its own.
  bool rotate = false;
};

// Records all batches; answers how many were acknowledged on `acked_fd`.
void RecordAll(const std::string& dir, const Crash* crash, bool rotate,
               int acked_fd) {
  FakeClock clock;
  const auto metrics = MakeMetrics();
  std::atomic<int> left = crash != nullptr ? crash->occurrence : 0;
  const std::function<void(absl::string_view)> hook =
      [&](absl::string_view step) {
        if (crash != nullptr && step == crash->step && --left == 0) {
          ::_exit(kCrashed);
        }
      };
  SqliteRecordStore::Options store_options;
  store_options.data_dir = dir;
  store_options.step_hook = hook;
  auto store = SqliteRecordStore::Create(store_options, clock).value();
  PredictionsFile::Options options;
  options.path = PredictionsPath(dir);
  options.line = {.timezone = absl::UTCTimeZone()};
  options.sync_interval = absl::ZeroDuration();
  options.rotate_bytes = rotate ? 1 : 0;
  options.step_hook = hook;
  if (crash != nullptr && crash->step.empty()) {
    options.write = [&](int fd, const char* data, size_t size) -> ssize_t {
      if (--left > 0) return ::write(fd, data, size);
      if (::write(fd, data, size / 2) < 0) ::_exit(1);
      ::_exit(kCrashed);
    };
  }
  auto file = PredictionsFile::Create(options, *store, clock, *metrics).value();
  for (int i = 1; i <= kBatches; ++i) {
    if (!AppendAndWait(*store, MakeNewRecord(MakeHeader("s", i))).ok()) {
      ::_exit(1);
    }
    if (acked_fd >= 0 && ::write(acked_fd, "a", 1) != 1) ::_exit(1);
    if (!file->WaitUntilCaughtUp(kWait)) ::_exit(1);
  }
  file->Stop(kWait);
}

class CrashTest : public ::testing::TestWithParam<Crash> {};

TEST_P(CrashTest, AfterItEachBatchIsOneRecordAndOneLine) {
  TempDir dir;
  int acked[2];
  ASSERT_EQ(::pipe(acked), 0);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    ::close(acked[0]);
    RecordAll(dir.path(), &GetParam(), GetParam().rotate, acked[1]);
    ::_exit(0);  // The step never came.
  }
  ::close(acked[1]);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  ASSERT_EQ(WEXITSTATUS(status), kCrashed);
  int64_t acknowledged = 0;
  for (char c = 0; ::read(acked[0], &c, 1) == 1;) ++acknowledged;
  ::close(acked[0]);

  {
    FakeClock clock;
    auto store = SqliteRecordStore::Create({.data_dir = dir.path()}, clock);
    ASSERT_THAT(store, IsOk());
    EXPECT_GE((*store)->LastRecordId(), acknowledged);
    for (int64_t id = 1; id <= (*store)->LastRecordId(); ++id) {
      const auto stored = (*store)->GetRecord(id);
      ASSERT_THAT(stored, IsOk());
      ASSERT_EQ(stored->pictures.size(), 2U);
      EXPECT_EQ((*store)->ReadPicture(stored->pictures[0]).value(),
                FakePicture("s", id, 0));
    }
  }

  RecordAll(dir.path(), nullptr, GetParam().rotate, -1);
  const std::string live = PredictionsPath(dir.path());
  std::string text;
  for (const RotatedPredictions& file : ListRotatedPredictions(live)) {
    text += ReadText(file.path);
  }
  EXPECT_EQ(text.empty(), !GetParam().rotate);
  text += ReadText(live);
  std::vector<int64_t> lines;
  for (const absl::string_view line :
       absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    lines.push_back(InspectLine(line).record_id);
  }
  EXPECT_THAT(lines, ElementsAre(1, 2, 3));
}

INSTANTIATE_TEST_SUITE_P(
    Steps, CrashTest,
    ::testing::Values(Crash{"PicturesWritten", "pictures written", 1},
                      Crash{"PicturesWrittenLater", "pictures written", 3},
                      Crash{"GroupInserted", "group inserted", 1},
                      Crash{"GroupInsertedLater", "group inserted", 2},
                      Crash{"GroupCommitted", "group committed", 1},
                      Crash{"GroupCommittedLater", "group committed", 3},
                      Crash{"HalfALine", "", 1}, Crash{"HalfALineLater", "", 3},
                      Crash{"LinesWritten", "lines written", 1},
                      Crash{"LinesWrittenLater", "lines written", 2},
                      Crash{"LinesSynced", "lines synced", 1},
                      Crash{"LinesSyncedLater", "lines synced", 2},
                      Crash{"CursorStored", "cursor stored", 1},
                      Crash{"HalfALineOfTheNextFile", "", 2, true},
                      Crash{"SyncedBeforeTheRename", "lines synced", 2, true},
                      Crash{"StoredBeforeTheRename", "cursor stored", 2, true},
                      Crash{"FileRenamed", "file renamed", 1, true},
                      Crash{"FileRenamedLater", "file renamed", 3, true},
                      Crash{"FileRotated", "file rotated", 2, true}),
    [](const auto& info) { return info.param.name; });

// Files below `dir` that end in .jpg.
int Pictures(const std::string& dir) {
  int count = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(dir)) {
    if (entry.path().extension() == ".jpg") ++count;
  }
  return count;
}

class RemovalCrashTest : public ::testing::TestWithParam<std::string> {};

TEST_P(RemovalCrashTest, AfterItNoRecordLacksAPictureAndNoFileIsLeft) {
  TempDir dir;
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    RecordAll(dir.path(), nullptr, false, -1);
    FakeClock clock;
    SqliteRecordStore::Options options;
    options.data_dir = dir.path();
    options.step_hook = [](absl::string_view step) {
      if (step == GetParam()) ::_exit(kCrashed);
    };
    const auto store = SqliteRecordStore::Create(options, clock).value();
    if (!store->RemoveRecords({.limit = 2}).ok()) ::_exit(1);
    ::_exit(0);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_EQ(WEXITSTATUS(status), kCrashed);
  EXPECT_EQ(Pictures(dir.path()), GetParam() == "rows removed" ? 6 : 2);

  FakeClock clock;
  const auto store =
      SqliteRecordStore::Create({.data_dir = dir.path()}, clock).value();
  EXPECT_EQ(Pictures(dir.path()), 2);
  EXPECT_EQ(store->RecordsAfter({}, 0, 10)->size(), 1U);
  for (int i = 1; i <= kBatches; ++i) {
    EXPECT_TRUE(AppendAndWait(*store, MakeNewRecord(MakeHeader("s", i)))
                    ->already_recorded);
  }
  EXPECT_EQ(Pictures(dir.path()), 2);
  EXPECT_EQ(store->RemoveRecords({})->count, 1);
  EXPECT_EQ(Pictures(dir.path()), 0);
}

INSTANTIATE_TEST_SUITE_P(Steps, RemovalCrashTest,
                         ::testing::Values("rows removed", "files removed"),
                         [](const auto& info) {
                           return info.param == "rows removed" ? "RowsRemoved"
                                                               : "FilesRemoved";
                         });

TEST(CrashTest, TheLockOfAProcessThatIsGoneIsFree) {
  TempDir dir;
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const auto lock = FolderLock::Take(LockFile(dir.path()));
    ::_exit(lock.ok() ? kCrashed : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_EQ(WEXITSTATUS(status), kCrashed);
  EXPECT_THAT(FolderLock::Take(LockFile(dir.path())), IsOk());
}

}  // namespace
}  // namespace camherd::aggregator
