// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "camherd/v1/aggregator_service.pb.h"
#include "services/aggregator/imported_line.h"
#include "services/aggregator/object_splitter.h"
#include "services/aggregator/record_store.h"

namespace camherd::aggregator {

// Takes a predictions.json, lines or an array, into the store, as it is read:
// a long file takes no more memory than a few records. It decides what is a
// record and what its name is; whether the record is new is the store's to say,
// so the same file again changes nothing.
//
// What cannot be used is counted, the first of it kept with line and cause, and
// the rest goes on. An error of the store ends the import: what was added
// stays.
//
// Not thread-safe; the store's threads answer it all the same.
class RecordImport {
 public:
  // Stores a record, as RecordStore::Append does.
  using AppendFn = std::function<void(NewRecord, RecordStore::AppendDone)>;

  struct Options {
    // Of Date and timestamp of records without our `meta`.
    absl::TimeZone timezone;
    // An 8K picture in base64, and its record, are less.
    size_t max_record_bytes = size_t{64} << 20;
    // Records that wait for commit: at most so many, and no further one once
    // they have so many bytes of pictures.
    size_t max_waiting = 64;
    size_t max_waiting_bytes = size_t{16} << 20;
  };
  // Faults that are kept.
  static constexpr int kMaxErrors = 100;

  RecordImport(const Options& options, AppendFn append);
  // Waits for what was given to the store.
  ~RecordImport();

  // Takes the next bytes of the file. Blocks while too many records wait.
  // Errors: the store's, saying how far it came; then it takes no more.
  absl::Status Add(absl::string_view bytes);
  // There are no more: waits for the last record.
  absl::StatusOr<v1::ImportRecordsResponse> Finish();

 private:
  absl::StatusOr<bool> TakeObject(int64_t line, absl::string_view text);
  absl::Status StoreOpen();
  absl::Status Store(NewRecord record);
  void Fault(int64_t line, absl::string_view cause);
  void WaitFor(size_t waiting, size_t bytes);
  absl::Status StoreStatus();

  const Options options_;
  const AppendFn append_;
  ObjectSplitter splitter_;

  // A record of which lines are still to come, with one object a frame.
  std::optional<ImportedLine> open_;
  int64_t open_line_ = 0;
  int open_lines_ = 0;  // That came.

  absl::Mutex mu_;
  size_t waiting_ ABSL_GUARDED_BY(mu_) = 0;
  size_t waiting_bytes_ ABSL_GUARDED_BY(mu_) = 0;
  absl::Status failed_ ABSL_GUARDED_BY(mu_);
  v1::ImportRecordsResponse result_ ABSL_GUARDED_BY(mu_);
};

}  // namespace camherd::aggregator
