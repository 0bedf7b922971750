// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "services/aggregator/aggregator_metrics.h"
#include "services/aggregator/prediction_record.h"
#include "services/aggregator/record_store.h"
#include "services/common/clock.h"
#include "services/common/steady_mutex.h"

namespace camherd::aggregator {

// predictions.json: one line a record, in order of commit, each record once.
// Records that were imported have none: they come from such a file, commonly
// from this one.
//
// The store is the truth; this is its follower. One thread reads the records
// after the cursor and appends their lines, normally within milliseconds of
// the commit: AddBatchResult answers when the record is durable in the store,
// it does not wait for the line. A line reaches the kernel in one write; the
// file is synced, and the cursor stored, once per `sync_interval` and on stop.
// Lines that are synced leave the page cache, 64 MiB and more at a time: at 310
// KB each they would fill it, and hardly anybody reads them soon.
// After a crash the lines behind the cursor are found in the file and counted.
//
// A file that has reached `rotate_bytes` is renamed to predictions-<n>.json,
// and the next one is begun at the cursor; who has it open reads on. It is
// synced and the cursor stored before, so that whichever file a crash leaves
// under the name, the lines go on where they ended. Its time of change is set
// to the captured_at of its newest record, for retention.
//
// Where the name is a link, all this is done where it leads, and the link
// stays.
//
// A file that is deleted, replaced or edited while this runs is noticed before
// the next line; see predictions_file_recovery.h. A full disk or another error
// of writing is logged, counted and tried again every `retry_interval`: the
// file falls behind, nothing is lost. A failed fsync ends the process.
//
// Thread-safe.
class PredictionsFile {
 public:
  struct Options {
    std::string path = {};
    LineOptions line;
    absl::Duration sync_interval = absl::Seconds(1);
    absl::Duration retry_interval = absl::Seconds(1);
    // 0: never rotated.
    int64_t rotate_bytes = 0;
    // Bytes of lines put together for one write; a record is never cut.
    size_t max_write_bytes = size_t{2} << 20;
    // Seams for tests: told of each step done ("lines written", "lines
    // synced", "cursor stored", "file renamed", "file rotated"), and what
    // writes, as ::write does.
    std::function<void(absl::string_view step)> step_hook = nullptr;
    std::function<ssize_t(int fd, const char* data, size_t size)> write =
        nullptr;
  };

  // Opens the file as OpenPredictions does, with its errors, and begins to
  // catch up. `store`, `clock` and `metrics` must outlive it.
  static absl::StatusOr<std::unique_ptr<PredictionsFile>> Create(
      const Options& options, RecordStore& store, Clock& clock,
      AggregatorMetrics& metrics);
  // Stops without drain if Stop was not called.
  ~PredictionsFile();

  // Says that records were committed.
  void Wake();

  // True when the file holds all records that were committed before the call;
  // false after `timeout`.
  bool WaitUntilCaughtUp(absl::Duration timeout);

  // Writes what is committed, for at most `drain`, syncs, and stops.
  void Stop(absl::Duration drain);

 private:
  PredictionsFile(const Options& options, RecordStore& store, Clock& clock,
                  AggregatorMetrics& metrics);

  absl::Status Open(const PredictionsCursor& cursor);
  absl::Status OpenAgainIfChanged();
  // `record` is one of those in the file.
  void NoteCaptured(const v1::Record& record);
  // `more` bytes would bring it to `rotate_bytes`.
  bool IsFull(size_t more) const;
  absl::Status Rotate();
  void Loop();
  absl::Status WriteCommitted();
  absl::Status WriteBuffer();
  absl::Status SyncAndStoreCursor();
  void ReportFailure(const absl::Status& status);
  void Step(absl::string_view step) {
    if (options_.step_hook) options_.step_hook(step);
  }

  const Options options_;
  RecordStore& store_;
  Clock& clock_;
  AggregatorMetrics& metrics_;

  // Owned by the writing thread once it runs.
  std::string path_;  // Where options_.path leads, if it is a link.
  int fd_ = -1;
  PredictionsCursor cursor_;  // What is written; stored when it is synced.
  bool dirty_ = false;        // cursor_ is not stored.
  int64_t cached_from_ = 0;   // Lines before it have left the page cache.
  absl::Duration last_sync_ = absl::ZeroDuration();
  std::string buffer_;
  int64_t failures_since_log_ = 0;
  absl::Duration last_failure_log_ = -absl::InfiniteDuration();

  SteadyMutex mu_;
  bool wake_ ABSL_GUARDED_BY(mu_) = true;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  absl::Duration stop_at_ ABSL_GUARDED_BY(mu_) = absl::InfiniteDuration();
  int64_t written_id_ ABSL_GUARDED_BY(mu_) = 0;

  std::thread thread_;
};

}  // namespace camherd::aggregator
