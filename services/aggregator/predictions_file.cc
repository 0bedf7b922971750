// SPDX-License-Identifier: Apache-2.0
#include "services/aggregator/predictions_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "services/aggregator/data_layout.h"
#include "services/aggregator/predictions_file_recovery.h"
#include "services/aggregator/rotated_predictions.h"
#include "services/common/file.h"
#include "services/common/log.h"
#include "services/common/status_macros.h"
#include "services/common/time_proto.h"

namespace camherd::aggregator {
namespace {

constexpr int kRecordsPerRead = 16;
constexpr int64_t kMaxCachedBytes = int64_t{64} << 20;
constexpr absl::Duration kFailureLogInterval = absl::Minutes(1);

}  // namespace

PredictionsFile::PredictionsFile(const Options& options, RecordStore& store,
                                 Clock& clock, AggregatorMetrics& metrics)
    : options_(options), store_(store), clock_(clock), metrics_(metrics) {}

absl::StatusOr<std::unique_ptr<PredictionsFile>> PredictionsFile::Create(
    const Options& options, RecordStore& store, Clock& clock,
    AggregatorMetrics& metrics) {
  std::unique_ptr<PredictionsFile> file(
      new PredictionsFile(options, store, clock, metrics));
  CAMHERD_ASSIGN_OR_RETURN(const PredictionsCursor cursor, store.GetCursor());
  CAMHERD_RETURN_IF_ERROR(file->Open(cursor));
  file->last_sync_ = clock.SteadyNow();
  file->thread_ = std::thread([f = file.get()] { f->Loop(); });
  return file;
}

PredictionsFile::~PredictionsFile() {
  Stop(absl::ZeroDuration());
  if (fd_ >= 0) ::close(fd_);
}

absl::Status PredictionsFile::Open(const PredictionsCursor& cursor) {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
  CAMHERD_ASSIGN_OR_RETURN(path_, FollowLinks(options_.path));
  const absl::StatusOr<OpenedPredictions> opened =
      OpenPredictions(path_, cursor, store_.LastRecordId(), clock_.Now());
  if (!opened.ok() && path_ != options_.path) {
    return absl::Status(
        opened.status().code(),
        absl::StrCat(options_.path, " is a link: ", opened.status().message()));
  }
  CAMHERD_RETURN_IF_ERROR(opened.status());
  fd_ = opened->fd;
  cursor_ = opened->cursor;
  cached_from_ = cursor_.offset;
  if (cursor_.last_record_id > cursor.last_record_id) {
    // Lines were counted: the last stands for them all.
    if (const auto last = store_.GetRecord(cursor_.last_record_id); last.ok()) {
      NoteCaptured(last->record);
    }
  }
  // Stored before the first line: a later start must not take our lines for
  // foreign ones, nor look for them in a file that is gone.
  CAMHERD_RETURN_IF_ERROR(store_.PutCursor(cursor_));
  dirty_ = false;
  SteadyMutex::Holder lock(&mu_);
  written_id_ = cursor_.last_record_id;
  return absl::OkStatus();
}

absl::Status PredictionsFile::OpenAgainIfChanged() {
  struct stat at_path = {};
  struct stat open_file = {};
  if (fd_ >= 0 && ::stat(options_.path.c_str(), &at_path) == 0 &&
      ::fstat(fd_, &open_file) == 0 && at_path.st_ino == open_file.st_ino &&
      at_path.st_dev == open_file.st_dev &&
      open_file.st_size == cursor_.offset) {
    return absl::OkStatus();
  }
  return Open(cursor_);
}

void PredictionsFile::NoteCaptured(const v1::Record& record) {
  cursor_.newest_us = std::max(
      cursor_.newest_us, absl::ToUnixMicros(FromProto(record.captured_at())));
}

bool PredictionsFile::IsFull(size_t more) const {
  return options_.rotate_bytes > 0 &&
         cursor_.offset + static_cast<int64_t>(more) >= options_.rotate_bytes;
}

absl::Status PredictionsFile::Rotate() {
  CAMHERD_RETURN_IF_ERROR(OpenAgainIfChanged());
  if (!IsFull(0)) return absl::OkStatus();
  CAMHERD_RETURN_IF_ERROR(SyncAndStoreCursor());
  if (cursor_.newest_us > 0) {
    const timespec newest = absl::ToTimespec(
        std::min(absl::FromUnixMicros(cursor_.newest_us), clock_.Now()));
    const timespec times[] = {{.tv_sec = 0, .tv_nsec = UTIME_OMIT}, newest};
    if (::futimens(fd_, times) != 0) {
      LogWarning("predictions.json keeps its time of change",
                 {{"error", ErrnoStatus(errno, "futimens", path_)}});
    }
  }
  // The lock of the folder keeps others of ours from the name.
  const std::string rotated = RotatedFile(path_, cursor_.rotated + 1);
  if (struct stat info = {}; ::lstat(rotated.c_str(), &info) == 0) {
    ++cursor_.rotated;
    return absl::AlreadyExistsError(
        absl::StrCat(rotated, " is there, its number is left out"));
  }
  if (::rename(path_.c_str(), rotated.c_str()) != 0) {
    return ErrnoStatus(errno, "rename", path_);
  }
  Step("file renamed");
  const int64_t bytes = cursor_.offset;
  CAMHERD_RETURN_IF_ERROR(Open(cursor_));
  LogInfo("predictions.json rotated", {{"to", rotated}, {"bytes", bytes}});
  Step("file rotated");
  return absl::OkStatus();
}

void PredictionsFile::Wake() {
  SteadyMutex::Holder lock(&mu_);
  wake_ = true;
}

bool PredictionsFile::WaitUntilCaughtUp(absl::Duration timeout) {
  const int64_t last = store_.LastRecordId();
  const auto written = [this, last] {
    mu_.AssertHeld();
    return written_id_ >= last;
  };
  SteadyMutex::Holder lock(&mu_);
  wake_ = true;
  return mu_.AwaitFor(written, timeout);
}

void PredictionsFile::Stop(absl::Duration drain) {
  {
    SteadyMutex::Holder lock(&mu_);
    if (!stopping_) stop_at_ = clock_.SteadyNow() + drain;
    stopping_ = true;
  }
  if (thread_.joinable()) thread_.join();
}

void PredictionsFile::Loop() {
  bool failed = false;
  while (true) {
    bool stopping = false;
    {
      SteadyMutex::Holder lock(&mu_);
      // After a failure only time (or the stop) brings the next try.
      const auto ready = [this, failed] {
        mu_.AssertHeld();
        return (wake_ && !failed) || stopping_;
      };
      mu_.AwaitFor(ready, failed   ? options_.retry_interval
                          : dirty_ ? options_.sync_interval
                                   : absl::InfiniteDuration());
      wake_ = false;
      stopping = stopping_;
    }
    const absl::Status written = WriteCommitted();
    failed = !written.ok();
    if (failed) ReportFailure(written);
    const absl::Duration now = clock_.SteadyNow();
    if (dirty_ && (stopping || now - last_sync_ >= options_.sync_interval)) {
      const absl::Status synced = SyncAndStoreCursor();
      if (!synced.ok()) {
        failed = true;
        ReportFailure(synced);
      }
    }
    if (stopping) return;
  }
}

absl::Status PredictionsFile::WriteCommitted() {
  while (true) {
    const int64_t last = store_.LastRecordId();
    metrics_.SetLinesBehind(last - cursor_.last_record_id);
    if (IsFull(0)) CAMHERD_RETURN_IF_ERROR(Rotate());
    if (cursor_.last_record_id >= last) return absl::OkStatus();
    {
      SteadyMutex::Holder lock(&mu_);
      if (stopping_ && clock_.SteadyNow() >= stop_at_) {
        return absl::OkStatus();
      }
    }
    CAMHERD_RETURN_IF_ERROR(OpenAgainIfChanged());
    CAMHERD_ASSIGN_OR_RETURN(
        const std::vector<StoredRecord> records,
        store_.RecordsAfter({}, cursor_.last_record_id, kRecordsPerRead));
    buffer_.clear();
    // Records that were removed since leave a gap.
    int64_t reached = records.empty() ? last : cursor_.last_record_id;
    for (const StoredRecord& stored : records) {
      reached = stored.record.record_id();
      if (stored.record.imported()) continue;
      const absl::Status picture = AppendPredictionLines(
          stored, options_.line,
          [this](const StoredPicture& p) { return store_.ReadPicture(p); },
          buffer_);
      if (!picture.ok()) {
        LogWarning("a line has no picture",
                   {{"record", stored.record.record_id()}, {"error", picture}});
      }
      if (buffer_.size() >= options_.max_write_bytes ||
          IsFull(buffer_.size())) {
        break;
      }
    }
    CAMHERD_RETURN_IF_ERROR(WriteBuffer());
    cursor_.last_record_id = reached;
    for (const StoredRecord& stored : records) {
      if (stored.record.record_id() <= reached && !stored.record.imported()) {
        NoteCaptured(stored.record);
      }
    }
    dirty_ = true;
    if (buffer_.capacity() > 4 * options_.max_write_bytes) {
      buffer_ = std::string();
    }
    {
      SteadyMutex::Holder lock(&mu_);
      written_id_ = reached;
    }
    Step("lines written");
    if (clock_.SteadyNow() - last_sync_ >= options_.sync_interval) {
      CAMHERD_RETURN_IF_ERROR(SyncAndStoreCursor());
    }
  }
}

absl::Status PredictionsFile::WriteBuffer() {
  absl::string_view rest = buffer_;
  while (!rest.empty()) {
    const ssize_t put = options_.write
                            ? options_.write(fd_, rest.data(), rest.size())
                            : ::write(fd_, rest.data(), rest.size());
    if (put < 0) {
      if (errno == EINTR) continue;
      const absl::Status status = ErrnoStatus(errno, "write", options_.path);
      // What was written is taken back, so that the file never ends in half a
      // line. If that fails too, the next try finds the torn tail.
      if (::ftruncate(fd_, cursor_.offset) != 0) {
        LogWarning("half a line could not be taken back",
                   {{"path", options_.path},
                    {"error", ErrnoStatus(errno, "ftruncate", options_.path)}});
      }
      return status;
    }
    rest.remove_prefix(static_cast<size_t>(put));
  }
  cursor_.offset += static_cast<int64_t>(buffer_.size());
  int64_t lines = 0;
  // Twenty times as fast as std::count() on lines of 310 KB.
  for (size_t at = buffer_.find('\n'); at != std::string::npos;
       at = buffer_.find('\n', at + 1)) {
    ++lines;
  }
  metrics_.LinesWritten(lines, static_cast<int64_t>(buffer_.size()));
  return absl::OkStatus();
}

absl::Status PredictionsFile::SyncAndStoreCursor() {
  if (::fdatasync(fd_) != 0) {
    LogFatal("fsync of predictions.json failed",
             {{"error", ErrnoStatus(errno, "fdatasync", options_.path)}});
  }
  Step("lines synced");
  if (cursor_.offset - cached_from_ >= kMaxCachedBytes) {
    (void)::posix_fadvise(fd_, cached_from_, cursor_.offset - cached_from_,
                          POSIX_FADV_DONTNEED);
    cached_from_ = cursor_.offset;
  }
  last_sync_ = clock_.SteadyNow();
  CAMHERD_RETURN_IF_ERROR(store_.PutCursor(cursor_));
  dirty_ = false;
  Step("cursor stored");
  return absl::OkStatus();
}

void PredictionsFile::ReportFailure(const absl::Status& status) {
  metrics_.LineWriteFailed();
  ++failures_since_log_;
  const absl::Duration now = clock_.SteadyNow();
  if (now - last_failure_log_ < kFailureLogInterval) return;
  LogError(
      "predictions.json cannot be written, trying again",
      {{"error", status},
       {"failures", failures_since_log_},
       {"records_behind", store_.LastRecordId() - cursor_.last_record_id}});
  last_failure_log_ = now;
  failures_since_log_ = 0;
}

}  // namespace camherd::aggregator
