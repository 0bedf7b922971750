// SPDX-License-Identifier: Apache-2.0
// What the power-cut test cuts off: an aggregator's store and predictions.json
// on the folder `<dir>/data`, in five runs, told apart by the second argument.
// Says to the shim what it has acknowledged.
#include <dlfcn.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "services/aggregator/data_layout.h"
#include "services/aggregator/disk_watch.h"
#include "services/aggregator/grid_archive.h"
#include "services/aggregator/predictions_file.h"
#include "services/aggregator/retention.h"
#include "services/aggregator/sqlite_record_store.h"
#include "services/common/clock.h"
#include "services/common/file.h"
#include "services/common/folder_lock.h"
#include "services/common/sqlite_db.h"
#include "services/common/time_proto.h"
#include "tests/integration/aggregator/power_cut_batch.h"
#include "tests/support/fake_clock.h"
#include "tests/unit/aggregator/picture_testing.h"

namespace camherd::aggregator {
namespace {

using ::camherd::aggregator::testing::AppendAndWait;
using ::camherd::aggregator::testing::kPowerCutCameras;
using ::camherd::aggregator::testing::MakeFrame;
using ::camherd::aggregator::testing::MakeJpeg;
using ::camherd::aggregator::testing::MakeMetrics;
using ::camherd::aggregator::testing::PowerCutBatch;

constexpr absl::Duration kWait = absl::Seconds(30);

void Mark(const std::string& text) {
  using Function = void (*)(const char*);
  static const auto mark =
      reinterpret_cast<Function>(dlsym(RTLD_DEFAULT, "DiskShimMark"));
  if (mark == nullptr) ::_exit(2);
  mark(text.c_str());
}

struct Aggregator {
  // As main.cc does.
  Aggregator(const std::string& dir, absl::Duration sync_interval,
             std::function<ssize_t(int, const char*, size_t)> write = nullptr)
      : data(absl::StrCat(dir, "/data")),
        prepared(MakeDirs(data).ok()),
        lock(FolderLock::Take(LockFile(data)).value()),
        metrics(MakeMetrics()),
        store(SqliteRecordStore::Create({.data_dir = data}, Clock::Real())
                  .value()) {
    PredictionsFile::Options options;
    options.path = PredictionsPath(data);
    options.line = {.timezone = absl::UTCTimeZone()};
    options.sync_interval = sync_interval;
    options.write = std::move(write);
    options.rotate_bytes = 20000;
    file = PredictionsFile::Create(options, *store, Clock::Real(), *metrics)
               .value();
  }

  void Append(int64_t batch) const {
    if (!AppendAndWait(*store, PowerCutBatch(batch)).ok()) ::_exit(3);
    Mark(absl::StrCat("batch ", batch));
    file->Wake();
  }

  void SaveGrid(int number) const {
    DiskWatch::Options any_room;
    any_room.path = data;
    any_room.low_bytes = 0;
    any_room.full_bytes = 0;
    DiskWatch disk(any_room, *metrics);
    GridArchive grids(data, *store, disk, Clock::Real(), *metrics);
    v1::RenderGridHeader header;
    header.set_session_id("session-1");
    header.set_process_name(absl::StrCat("demo-", number));
    header.set_save(true);
    const auto made = grids.Render(
        header,
        {MakeFrame(number, 10, MakeJpeg(64, 36, cv::Scalar::all(number)))});
    if (!made.ok()) ::_exit(6);
    Mark(absl::StrCat("grid ", made->grid().file_name(), " ",
                      Sha256Hex(made->jpeg())));
  }

  const std::string data;
  const bool prepared;
  const std::unique_ptr<FolderLock> lock;
  const std::unique_ptr<AggregatorMetrics> metrics;
  const std::unique_ptr<SqliteRecordStore> store;
  std::unique_ptr<PredictionsFile> file;
};

// One after the other, every line synced; gone in the middle of a line.
void RunFirst(const std::string& dir) {
  int lines = 0;
  const Aggregator aggregator(
      dir, absl::ZeroDuration(),
      [&](int fd, const char* data, size_t size) -> ssize_t {
        if (++lines < 6) return ::write(fd, data, size);
        ::_exit(::write(fd, data, size / 2) > 0 ? 0 : 1);
      });
  for (int i = 1; i <= kPowerCutCameras; ++i) {
    StoredCamera camera;
    camera.camera.set_camera_id(absl::StrCat("CAM-", i));
    camera.camera.set_revision(i);
    if (!aggregator.store->PutCameras({camera}).ok()) ::_exit(3);
    Mark(absl::StrCat("camera CAM-", i));
  }
  for (int64_t batch = 1; batch <= 6; ++batch) {
    if (batch % 2 == 0) aggregator.SaveGrid(static_cast<int>(batch));
    aggregator.Append(batch);
    aggregator.file->WaitUntilCaughtUp(kWait);
  }
  ::_exit(4);
}

// Many at once, lines not synced; gone without a stop.
void RunSecond(const std::string& dir) {
  const Aggregator aggregator(dir, absl::Hours(1));
  std::vector<std::thread> senders;
  std::atomic<int64_t> next = 6;  // Which may have got no answer.
  for (int i = 0; i < 4; ++i) {
    senders.emplace_back([&] {
      for (int64_t batch = next++; batch <= 18; batch = next++) {
        aggregator.Append(batch);
      }
    });
  }
  for (std::thread& sender : senders) sender.join();
  aggregator.file->WaitUntilCaughtUp(kWait);
  ::_exit(0);
}

// Batches that come again, the log copied into the database in between, and
// stopped as by SIGTERM.
void RunThird(const std::string& dir) {
  Aggregator aggregator(dir, absl::Milliseconds(5));
  for (int64_t batch = 15; batch <= 24; ++batch) {
    aggregator.Append(batch);
    if (batch % 3 == 0) {
      aggregator.SaveGrid(static_cast<int>(batch));
      auto other = SqliteDb::Open(DatabaseFile(aggregator.data), "");
      if (!other.ok() ||
          !(*other)->Exec("PRAGMA wal_checkpoint(PASSIVE)").ok()) {
        ::_exit(5);
      }
    }
  }
  aggregator.file->Stop(kWait);
}

// After a clean stop.
void RunFourth(const std::string& dir) {
  Aggregator aggregator(dir, absl::ZeroDuration());
  for (int64_t batch = 25; batch <= 27; ++batch) aggregator.Append(batch);
  aggregator.file->Stop(kWait);
}

// Retention takes the oldest while batches come.
void RunFifth(const std::string& dir) {
  Aggregator aggregator(dir, absl::ZeroDuration());
  constexpr absl::Duration kAge = absl::Hours(1);
  int64_t batch = 28;
  for (const int64_t removed : testing::kPowerCutRemovals) {
    aggregator.Append(batch++);
    aggregator.file->WaitUntilCaughtUp(kWait);
    camherd::testing::FakeClock clock(
        FromProto(PowerCutBatch(removed + 1).record.captured_at()) + kAge);
    Retention retention(
        {.predictions_path = PredictionsPath(aggregator.data), .max_age = kAge},
        *aggregator.store, clock, *aggregator.metrics);
    Mark(absl::StrCat("removing ", removed));
    if (!retention.RunOnce().ok()) ::_exit(7);
    Mark(absl::StrCat("removed ", removed));
  }
  for (; batch <= testing::kPowerCutBatches; ++batch) aggregator.Append(batch);
  aggregator.file->Stop(kWait);
}

}  // namespace
}  // namespace camherd::aggregator

int main(int argc, char** argv) {
  int run = 0;
  if (argc != 3 || !absl::SimpleAtoi(argv[2], &run)) return 2;
  const std::string dir = argv[1];
  switch (run) {
    case 1:
      camherd::aggregator::RunFirst(dir);
      break;
    case 2:
      camherd::aggregator::RunSecond(dir);
      break;
    case 3:
      camherd::aggregator::RunThird(dir);
      break;
    case 4:
      camherd::aggregator::RunFourth(dir);
      break;
    default:
      camherd::aggregator::RunFifth(dir);
  }
  return 0;
}
