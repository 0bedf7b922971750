// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "services/aggregator/data_layout.h"
#include "services/aggregator/predictions_file.h"
#include "services/aggregator/predictions_file_recovery.h"
#include "services/aggregator/rotated_predictions.h"
#include "services/aggregator/sqlite_record_store.h"
#include "services/common/clock.h"
#include "services/common/file.h"
#include "tests/integration/aggregator/power_cut_batch.h"
#include "tests/support/disk_trace.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

// Power cuts: a program records batches, and removes old ones, under the shim,
// is killed and started again; then, for many moments of that, what the disk
// may hold is built, and must be a folder on which the aggregator starts
// without help and has all that it had acknowledged.
namespace camherd::aggregator {
namespace {

using ::camherd::aggregator::testing::AppendAndWait;
using ::camherd::aggregator::testing::kPowerCutBatches;
using ::camherd::aggregator::testing::MakeMetrics;
using ::camherd::aggregator::testing::PowerCutBatch;
using ::camherd::aggregator::testing::PowerCutBatchOf;
using ::camherd::aggregator::testing::PowerCutPicture;
using ::camherd::aggregator::testing::ReadText;
using ::camherd::testing::DiskTrace;
using ::camherd::testing::IsOk;
using ::camherd::testing::TempDir;

constexpr absl::Duration kWait = absl::Seconds(30);
constexpr int kRuns = 5;

struct Acknowledged {
  std::set<int64_t> batches;
  std::set<std::string> cameras;
  // File name and hash.
  std::map<std::string, std::string> grids;
  // Batches up to this may be gone; those up to that are.
  int64_t removing = 0;
  int64_t removed = 0;
};

Acknowledged ParseMarks(const std::vector<std::string>& marks) {
  Acknowledged acknowledged;
  for (absl::string_view mark : marks) {
    int64_t batch = 0;
    if (absl::ConsumePrefix(&mark, "grid ")) {
      const std::pair<std::string, std::string> grid =
          absl::StrSplit(mark, ' ');
      acknowledged.grids.insert(grid);
    } else if (absl::ConsumePrefix(&mark, "removing ")) {
      EXPECT_TRUE(absl::SimpleAtoi(mark, &acknowledged.removing));
    } else if (absl::ConsumePrefix(&mark, "removed ")) {
      EXPECT_TRUE(absl::SimpleAtoi(mark, &acknowledged.removed));
    } else if (absl::ConsumePrefix(&mark, "camera ")) {
      acknowledged.cameras.insert(std::string(mark));
    } else if (absl::ConsumePrefix(&mark, "batch ") &&
               absl::SimpleAtoi(mark, &batch)) {
      acknowledged.batches.insert(batch);
    } else {
      ADD_FAILURE() << "mark " << mark;
    }
  }
  return acknowledged;
}

// Every record whole, its batch once, and no picture beside; returns the
// batches.
std::set<int64_t> CheckStore(const std::string& data, RecordStore& store) {
  std::set<int64_t> batches;
  for (int64_t id = 1; id <= store.LastRecordId(); ++id) {
    const auto stored = store.GetRecord(id);
    if (absl::IsNotFound(stored.status())) continue;
    EXPECT_THAT(stored, IsOk());
    if (!stored.ok()) continue;
    const v1::Record& record = stored->record;
    const int64_t batch =
        PowerCutBatchOf(record.session_id(), record.batch_seq());
    EXPECT_TRUE(batches.insert(batch).second) << "twice: batch " << batch;
    EXPECT_GE(store.HighWaterMark(record.session_id()).value_or(0),
              record.batch_seq());
    EXPECT_EQ(stored->pictures.size(), 2U);
    for (const StoredPicture& picture : stored->pictures) {
      const auto jpeg = store.ReadPicture(picture);
      EXPECT_THAT(jpeg, IsOk());
      EXPECT_TRUE(jpeg.ok() &&
                  *jpeg == PowerCutPicture(batch, picture.frame_index))
          << picture.path;
    }
  }
  size_t pictures = 0;
  for (const auto& entry :
       std::filesystem::recursive_directory_iterator(RecordsDir(data))) {
    if (entry.is_regular_file()) ++pictures;
  }
  EXPECT_EQ(pictures, 2 * batches.size());
  return batches;
}

// What was rotated out and predictions.json, one after the other.
std::string ReadLines(const std::string& data) {
  std::string text;
  for (const RotatedPredictions& rotated :
       ListRotatedPredictions(PredictionsPath(data))) {
    text += ReadText(rotated.path);
    EXPECT_TRUE(text.empty() || text.back() == '\n') << rotated.path;
  }
  return text + ReadText(PredictionsPath(data));
}

// Each record is one whole line, in order and without a gap. Only of batches up
// to `removing` a line may lack, or its record.
void CheckLines(const std::string& data, RecordStore& store, int64_t removing) {
  const std::string text = ReadLines(data);
  EXPECT_TRUE(text.empty() || text.back() == '\n');
  int64_t expected = 0;
  for (const absl::string_view line :
       absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    const int64_t id = InspectLine(line).record_id;
    if (expected == 0) {
      for (int64_t before = 1; before < id; ++before) {
        const auto stored = store.GetRecord(before);
        if (absl::IsNotFound(stored.status())) continue;
        ASSERT_THAT(stored, IsOk());
        EXPECT_LE(PowerCutBatchOf(stored->record.session_id(),
                                  stored->record.batch_seq()),
                  removing)
            << "no line of record " << before;
      }
      expected = id - 1;
    }
    ++expected;
    EXPECT_EQ(id, expected);
    const auto stored = store.GetRecord(expected);
    if (absl::IsNotFound(stored.status()) && removing > 0) continue;
    ASSERT_THAT(stored, IsOk());
    const int64_t batch = PowerCutBatchOf(stored->record.session_id(),
                                          stored->record.batch_seq());
    EXPECT_NE(line.find(absl::Base64Escape(PowerCutPicture(batch, 0))),
              absl::string_view::npos)
        << "the picture in line " << expected;
  }
  EXPECT_EQ(expected, store.LastRecordId());
}

void CheckState(const std::string& data, const Acknowledged& acknowledged) {
  ASSERT_THAT(MakeDirs(data), IsOk());
  const auto metrics = MakeMetrics();
  absl::Notification swept;
  SqliteRecordStore::Options store_options;
  store_options.data_dir = data;
  store_options.step_hook = [&swept](absl::string_view step) {
    if (step == "pictures swept") swept.Notify();
  };
  const auto store = SqliteRecordStore::Create(store_options, Clock::Real());
  ASSERT_THAT(store, IsOk());
  PredictionsFile::Options options;
  options.path = PredictionsPath(data);
  options.line = {.timezone = absl::UTCTimeZone()};
  const auto file =
      PredictionsFile::Create(options, **store, Clock::Real(), *metrics);
  ASSERT_THAT(file, IsOk());
  ASSERT_TRUE((*file)->WaitUntilCaughtUp(kWait));

  swept.WaitForNotification();
  const std::set<int64_t> found = CheckStore(data, **store);
  std::set<int64_t> removed;
  for (const int64_t batch : acknowledged.batches) {
    if (found.count(batch) > 0) continue;
    removed.insert(batch);
    EXPECT_LE(batch, acknowledged.removing) << "acknowledged: batch " << batch;
  }
  // All of one removal or none: the steps are larger than these.
  EXPECT_TRUE(static_cast<int64_t>(removed.size()) == acknowledged.removed ||
              static_cast<int64_t>(removed.size()) == acknowledged.removing)
      << removed.size() << " of " << acknowledged.removed << " to "
      << acknowledged.removing;
  CheckLines(data, **store, acknowledged.removing);
  std::set<std::string> cameras;
  const auto stored_cameras = (*store)->LoadCameras();
  ASSERT_THAT(stored_cameras, IsOk());
  for (const StoredCamera& camera : *stored_cameras) {
    cameras.insert(camera.camera.camera_id());
  }
  for (const std::string& camera : acknowledged.cameras) {
    EXPECT_EQ(cameras.count(camera), 1U) << "acknowledged: camera " << camera;
  }
  for (const auto& [name, sha256] : acknowledged.grids) {
    EXPECT_EQ(Sha256HexOfFile(absl::StrCat(ImagesDir(data), "/", name))
                  .value_or("not there"),
              sha256)
        << "acknowledged: grid " << name;
  }

  // The senders try again, and one sends what had been answered.
  for (int64_t batch = 1; batch <= kPowerCutBatches; ++batch) {
    if (found.count(batch) > 0 && batch % 5 != 0) continue;
    const auto again = AppendAndWait(**store, PowerCutBatch(batch));
    ASSERT_THAT(again, IsOk());
    EXPECT_EQ(again->already_recorded,
              found.count(batch) + removed.count(batch) > 0);
    EXPECT_EQ(again->record_id == 0, removed.count(batch) > 0);
  }
  ASSERT_TRUE((*file)->WaitUntilCaughtUp(kWait));
  EXPECT_EQ(CheckStore(data, **store).size(),
            size_t{kPowerCutBatches} - removed.size());
  CheckLines(data, **store, acknowledged.removing);
}

TEST(AggregatorPowerCutTest,
     WhatWasAcknowledgedIsThereOnceWhateverTheDiskKept) {
  // Many thousand syncs, of which none has to be true: in memory.
  if (std::filesystem::is_directory("/dev/shm")) {
    ASSERT_EQ(::setenv("TMPDIR", "/dev/shm", 0), 0);
  }
  const TempDir dir;
  const std::string run = std::filesystem::canonical(dir.path()) / "run";
  ASSERT_THAT(MakeDirs(run), IsOk());
  const std::string trace_file = dir / "trace";
  for (int i = 1; i <= kRuns; ++i) {
    const std::string command = absl::StrCat(
        "DISK_SHIM_DIR=", run, " DISK_SHIM_TRACE=", trace_file,
        " LD_PRELOAD=" CAMHERD_DISK_SHIM " " CAMHERD_POWER_CUT_WORKLOAD " ",
        run, " ", i);
    ASSERT_EQ(std::system(command.c_str()), 0) << command;
  }
  const DiskTrace trace(trace_file);
  ASSERT_EQ(ParseMarks(trace.MarksBefore(trace.size())).batches.size(),
            size_t{kPowerCutBatches});

  const char* seed_text = std::getenv("POWER_CUT_SEED");
  uint64_t seed = std::random_device{}();
  if (seed_text != nullptr && !absl::SimpleAtoi(seed_text, &seed)) FAIL();
  std::cout << "POWER_CUT_SEED=" << seed << ": " << CAMHERD_POWER_CUT_STATES
            << " states of " << trace.size() << " changes\n";
  std::mt19937_64 any(seed);
  for (size_t i = 0; i < CAMHERD_POWER_CUT_STATES; ++i) {
    // Evenly over the run, each kind of loss in turn.
    const size_t from = i * trace.size() / CAMHERD_POWER_CUT_STATES;
    const size_t to = (i + 1) * trace.size() / CAMHERD_POWER_CUT_STATES;
    const size_t point = 1 + from + any() % (to > from ? to - from : 1);
    const auto kept = static_cast<DiskTrace::Kept>(any() % DiskTrace::kKinds);
    const uint64_t chance = any();
    const TempDir state;
    trace.Rebuild(point, kept, chance, state.path());
    SCOPED_TRACE(absl::StrCat("state ", i, ": after ", point, " changes, ",
                              trace.Describe(point), "; kept ",
                              static_cast<int>(kept), " by ", chance));
    CheckState(state / "data", ParseMarks(trace.MarksBefore(point)));
    if (HasFailure()) return;
  }
}

}  // namespace
}  // namespace camherd::aggregator
