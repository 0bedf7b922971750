// SPDX-License-Identifier: Apache-2.0
#include "services/aggregator/retention.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>

#include "services/common/file.h"
#include "services/common/log.h"
#include "services/common/status_macros.h"

namespace camherd::aggregator {
namespace {

// Looks whether records were committed.
constexpr absl::Duration kLookInterval = absl::Milliseconds(20);
// At the bytes, without any: predictions.json may be catching up.
constexpr absl::Duration kMeasureInterval = absl::Seconds(1);
constexpr absl::Duration kFailureLogInterval = absl::Minutes(1);
// Below max_bytes it begins, so that what comes meanwhile has room, and twice
// that it ends.
constexpr int64_t kMaxSlack = int64_t{256} << 20;

int64_t BytesOnDisk(const std::string& path) {
  struct stat info = {};
  if (::stat(path.c_str(), &info) != 0) return 0;
  return static_cast<int64_t>(info.st_blocks) * 512;
}

}  // namespace

// What one run finds and does.
struct Retention::Run {
  absl::Duration start;
  StoreUsage usage;
  int64_t live_bytes = 0;
  // The oldest first; those removed are gone from it.
  std::vector<RotatedPredictions> files;
  bool records_left = true;
  bool grids_left = true;
  bool more_is_old = false;

  int64_t records = 0;
  int64_t prediction_files = 0;
  int64_t grids = 0;
  int64_t bytes = 0;

  int64_t FileBytes() const {
    int64_t sum = live_bytes;
    for (const RotatedPredictions& file : files) sum += file.bytes;
    return sum;
  }
  int64_t TotalBytes() const {
    return usage.picture_bytes + usage.database_bytes + usage.grid_bytes +
           FileBytes();
  }
};

Retention::Retention(const Options& options, RecordStore& store, Clock& clock,
                     AggregatorMetrics& metrics)
    : options_(options), store_(store), clock_(clock), metrics_(metrics) {}

Retention::~Retention() { Stop(); }

void Retention::Start() {
  thread_ = std::thread([this] { Loop(); });
}

void Retention::Stop() {
  {
    SteadyMutex::Holder lock(&mu_);
    stopping_ = true;
  }
  if (thread_.joinable()) thread_.join();
}

void Retention::Loop() {
  const bool limited = options_.max_bytes > 0;
  // Without new records.
  const absl::Duration wait =
      limited ? std::min(kMeasureInterval, options_.poll_interval)
              : options_.poll_interval;
  absl::Duration last_failure_log = -absl::InfiniteDuration();
  while (true) {
    const absl::Duration start = clock_.SteadyNow();
    const int64_t seen_id = store_.LastRecordId();
    const absl::StatusOr<bool> run = RunOnce();
    if (!run.ok() && start - last_failure_log >= kFailureLogInterval) {
      LogError("what is too old or too much cannot be removed, trying again",
               {{"error", run.status()}});
      last_failure_log = start;
    }
    const bool more = run.value_or(false);
    do {
      if (!Wait(limited || more ? std::min(kLookInterval, wait) : wait)) return;
    } while (!more && (!limited || store_.LastRecordId() == seen_id) &&
             clock_.SteadyNow() - start < wait);
  }
}

absl::StatusOr<bool> Retention::RunOnce() {
  Run run;
  run.start = clock_.SteadyNow();
  run.files = ListRotatedPredictions(options_.predictions_path);
  // What rotation numbered later may hold older records.
  std::stable_sort(
      run.files.begin(), run.files.end(),
      [](const auto& a, const auto& b) { return a.newest < b.newest; });
  absl::Status status = RemoveOld(run);
  if (status.ok()) status = RemoveExcess(run);
  status.Update(Shrink());
  status.Update(Measure(run));
  if (run.records + run.prediction_files + run.grids > 0) {
    LogInfo(
        "removed what was too old or too much",
        {{"records", run.records},
         {"prediction_files", run.prediction_files},
         {"grids", run.grids},
         {"bytes", run.bytes},
         {"bytes_left", run.TotalBytes()},
         {"oldest_record",
          absl::FormatTime(run.usage.oldest_record, absl::UTCTimeZone())},
         {"seconds", absl::ToDoubleSeconds(clock_.SteadyNow() - run.start)}});
  }
  if (!status.ok()) return status;
  return run.more_is_old;
}

absl::StatusOr<int64_t> Retention::LastRemovable() {
  if (!options_.keep_unwritten) return INT64_MAX;
  CAMHERD_ASSIGN_OR_RETURN(const PredictionsCursor cursor, store_.GetCursor());
  return cursor.last_record_id;
}

bool Retention::GoOn(absl::Duration start, bool gentle) {
  return Wait(gentle ? clock_.SteadyNow() - start : absl::ZeroDuration());
}

bool Retention::Wait(absl::Duration duration) {
  SteadyMutex::Holder lock(&mu_);
  const auto stopping = [this] {
    mu_.AssertHeld();
    return stopping_;
  };
  return !mu_.AwaitFor(stopping, duration);
}

absl::Status Retention::Measure(Run& run) {
  CAMHERD_ASSIGN_OR_RETURN(run.usage, store_.GetUsage());
  run.live_bytes = BytesOnDisk(options_.predictions_path);
  metrics_.SetUsed({.pictures = run.usage.picture_bytes,
                    .database = run.usage.database_bytes,
                    .predictions = run.FileBytes(),
                    .grids = run.usage.grid_bytes},
                   run.usage.oldest_record);
  return absl::OkStatus();
}

absl::Status Retention::RemoveFile(Run& run, RemovalReason reason) {
  const RotatedPredictions file = run.files.front();
  if (::unlink(file.path.c_str()) != 0 && errno != ENOENT) {
    return ErrnoStatus(errno, "unlink", file.path);
  }
  // Before the next: after a power cut that one must not be the only one gone.
  CAMHERD_RETURN_IF_ERROR(
      SyncDir(file.path.substr(0, file.path.rfind('/') + 1)));
  run.files.erase(run.files.begin());
  ++run.prediction_files;
  run.bytes += file.bytes;
  metrics_.Removed(RemovedKind::kPredictions, reason, 1, file.bytes);
  return absl::OkStatus();
}

absl::Status Retention::RemoveOld(Run& run) {
  if (options_.max_age == absl::InfiniteDuration()) return absl::OkStatus();
  RemovalStep step;
  step.before = clock_.Now() - options_.max_age;
  while (!run.files.empty() && run.files.front().newest < step.before) {
    CAMHERD_RETURN_IF_ERROR(RemoveFile(run, RemovalReason::kAge));
  }
  CAMHERD_RETURN_IF_ERROR(RemoveOldOf(run, RemovedKind::kRecord, step));
  return RemoveOldOf(run, RemovedKind::kGrid, step);
}

absl::Status Retention::RemoveOldOf(Run& run, RemovedKind kind,
                                    RemovalStep step) {
  while (!run.more_is_old) {
    const absl::Duration start = clock_.SteadyNow();
    RemovedItems removed;
    if (kind == RemovedKind::kGrid) {
      CAMHERD_ASSIGN_OR_RETURN(removed, store_.RemoveGrids(step));
      run.grids += removed.count;
    } else {
      CAMHERD_ASSIGN_OR_RETURN(step.last_record_id, LastRemovable());
      CAMHERD_ASSIGN_OR_RETURN(removed, store_.RemoveRecords(step));
      run.records += removed.count;
    }
    run.bytes += removed.bytes;
    metrics_.Removed(kind, RemovalReason::kAge, removed.count, removed.bytes);
    if (removed.count == 0 || !GoOn(start, /*gentle=*/true)) break;
    run.more_is_old = clock_.SteadyNow() - run.start >= options_.max_age_run;
  }
  return absl::OkStatus();
}

absl::Status Retention::RemoveExcess(Run& run) {
  if (options_.max_bytes == 0) return absl::OkStatus();
  CAMHERD_RETURN_IF_ERROR(Measure(run));
  const int64_t slack = std::min(options_.max_bytes / 32, kMaxSlack);
  const int64_t begin = options_.max_bytes - slack;
  if (run.TotalBytes() <= begin) return absl::OkStatus();
  const int64_t target = begin - slack;
  while (run.TotalBytes() > target) {
    const absl::Duration start = clock_.SteadyNow();
    const absl::Time record =
        run.records_left ? run.usage.oldest_record : absl::InfiniteFuture();
    const absl::Time grid =
        run.grids_left ? run.usage.oldest_grid : absl::InfiniteFuture();
    const absl::Time file =
        run.files.empty() ? absl::InfiniteFuture() : run.files.front().newest;
    const absl::Time oldest = std::min({record, grid, file});
    if (oldest == absl::InfiniteFuture()) {
      return absl::ResourceExhaustedError(
          "more than retention_bytes, and nothing left that may be removed");
    }
    RemovalStep step;
    step.bytes = run.TotalBytes() - target;
    if (record == oldest) {
      // The same instant as the others' belongs to the step.
      step.before = std::min(grid, file) + absl::Microseconds(1);
      CAMHERD_ASSIGN_OR_RETURN(step.last_record_id, LastRemovable());
      CAMHERD_ASSIGN_OR_RETURN(const RemovedItems removed,
                               store_.RemoveRecords(step));
      // None: those that old are no line yet. What is next comes first.
      run.records_left = removed.count > 0;
      run.records += removed.count;
      run.bytes += removed.bytes;
      metrics_.Removed(RemovedKind::kRecord, RemovalReason::kBytes,
                       removed.count, removed.bytes);
    } else if (grid == oldest) {
      step.before = grid + absl::Microseconds(1);
      step.limit = 1;
      CAMHERD_ASSIGN_OR_RETURN(const RemovedItems removed,
                               store_.RemoveGrids(step));
      run.grids_left = removed.count > 0;
      run.records_left = true;
      run.grids += removed.count;
      run.bytes += removed.bytes;
      metrics_.Removed(RemovedKind::kGrid, RemovalReason::kBytes, removed.count,
                       removed.bytes);
    } else {
      CAMHERD_RETURN_IF_ERROR(RemoveFile(run, RemovalReason::kBytes));
      run.records_left = true;
    }
    CAMHERD_RETURN_IF_ERROR(Measure(run));
    if (!GoOn(start, run.TotalBytes() <= begin)) break;
  }
  return absl::OkStatus();
}

absl::Status Retention::Shrink() {
  while (true) {
    const absl::Duration start = clock_.SteadyNow();
    CAMHERD_ASSIGN_OR_RETURN(const bool more, store_.Shrink());
    if (!more || !GoOn(start, /*gentle=*/true)) return absl::OkStatus();
  }
}

}  // namespace camherd::aggregator
