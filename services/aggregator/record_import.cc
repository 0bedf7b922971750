// SPDX-License-Identifier: Apache-2.0
#include "services/aggregator/record_import.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "services/common/retry_delay.h"
#include "services/common/status_macros.h"

namespace camherd::aggregator {
namespace {

size_t BytesOf(const NewRecord& record) {
  size_t bytes = 0;
  for (const Picture& picture : record.pictures) bytes += picture.jpeg.size();
  return bytes;
}

bool SameRecord(const v1::Record& a, const v1::Record& b) {
  return a.session_id() == b.session_id() && a.batch_seq() == b.batch_seq();
}

// Adds what another line says of the same record: the detections of its frame
// and that frame.
void Merge(NewRecord more, NewRecord& into) {
  for (v1::RecordSection& section : *more.record.mutable_sections()) {
    for (v1::RecordSection& known : *into.record.mutable_sections()) {
      if (known.name() != section.name()) continue;
      known.mutable_detections()->MergeFrom(section.detections());
    }
  }
  for (Picture& picture : more.pictures) {
    const auto same = [&](const Picture& known) {
      return known.frame_index == picture.frame_index;
    };
    if (picture.frame_index >= into.record.frames_size() ||
        std::any_of(into.pictures.begin(), into.pictures.end(), same)) {
      continue;
    }
    *into.record.mutable_frames(picture.frame_index) =
        more.record.frames(picture.frame_index);
    into.pictures.push_back(std::move(picture));
  }
}

}  // namespace

RecordImport::RecordImport(const Options& options, AppendFn append)
    : options_(options),
      append_(std::move(append)),
      splitter_(
          options.max_record_bytes,
          [this](int64_t line, absl::string_view object) {
            return TakeObject(line, object);
          },
          [this](int64_t line, const std::string& cause) {
            Fault(line, cause);
          }) {}

RecordImport::~RecordImport() { WaitFor(0, 0); }

absl::Status RecordImport::Add(absl::string_view bytes) {
  CAMHERD_RETURN_IF_ERROR(StoreStatus());
  return splitter_.Add(bytes);
}

absl::StatusOr<v1::ImportRecordsResponse> RecordImport::Finish() {
  CAMHERD_RETURN_IF_ERROR(StoreStatus());
  CAMHERD_RETURN_IF_ERROR(splitter_.Finish());
  CAMHERD_RETURN_IF_ERROR(StoreOpen());
  WaitFor(0, 0);
  CAMHERD_RETURN_IF_ERROR(StoreStatus());
  absl::MutexLock lock(&mu_);
  return result_;
}

absl::StatusOr<bool> RecordImport::TakeObject(int64_t line,
                                              absl::string_view text) {
  absl::StatusOr<ImportedLine> read =
      ParseImportedLine(text, options_.timezone);
  if (!read.ok()) {
    Fault(line, read.status().message());
    return !absl::IsDataLoss(read.status());
  }
  if (open_.has_value()) {
    NewRecord& record = open_->record;
    if (SameRecord(record.record, read->record.record) &&
        read->lines == open_->lines &&
        BytesOf(record) + BytesOf(read->record) <= options_.max_record_bytes) {
      Merge(std::move(read->record), record);
      if (++open_lines_ == open_->lines) CAMHERD_RETURN_IF_ERROR(StoreOpen());
      return true;
    }
    CAMHERD_RETURN_IF_ERROR(StoreOpen());
  }
  if (read->lines == 1) {
    CAMHERD_RETURN_IF_ERROR(Store(std::move(read->record)));
    return true;
  }
  open_ = *std::move(read);
  open_line_ = line;
  open_lines_ = 1;
  return true;
}

// With the lines there are: a record without one of its frames is more than
// none.
absl::Status RecordImport::StoreOpen() {
  if (!open_.has_value()) return absl::OkStatus();
  if (open_lines_ < open_->lines) {
    Fault(open_line_, absl::StrCat("the record has ", open_->lines,
                                   " lines, of which only ", open_lines_,
                                   " are there; it is taken without the rest"));
  }
  std::vector<Picture>& pictures = open_->record.pictures;
  std::sort(pictures.begin(), pictures.end(),
            [](const Picture& a, const Picture& b) {
              return a.frame_index < b.frame_index;
            });
  NewRecord record = std::move(open_->record);
  open_.reset();
  return Store(std::move(record));
}

absl::Status RecordImport::Store(NewRecord record) {
  WaitFor(options_.max_waiting - 1, options_.max_waiting_bytes);
  CAMHERD_RETURN_IF_ERROR(StoreStatus());
  const size_t bytes = BytesOf(record);
  {
    absl::MutexLock lock(&mu_);
    ++waiting_;
    waiting_bytes_ += bytes;
  }
  append_(std::move(record),
          [this, bytes](const absl::StatusOr<AppendResult>& result) {
            absl::MutexLock lock(&mu_);
            --waiting_;
            waiting_bytes_ -= bytes;
            if (!result.ok()) {
              if (failed_.ok()) failed_ = result.status();
            } else if (result->already_recorded) {
              result_.set_already_present(result_.already_present() + 1);
            } else {
              result_.set_imported(result_.imported() + 1);
            }
          });
  return absl::OkStatus();
}

void RecordImport::Fault(int64_t line, absl::string_view cause) {
  absl::MutexLock lock(&mu_);
  result_.set_failed(result_.failed() + 1);
  if (result_.errors_size() >= kMaxErrors) return;
  v1::RowError& error = *result_.add_errors();
  error.set_line(static_cast<int32_t>(
      std::min<int64_t>(line, std::numeric_limits<int32_t>::max())));
  error.set_message(std::string(cause));
}

void RecordImport::WaitFor(size_t waiting, size_t bytes) {
  struct Goal {
    RecordImport* import;
    size_t waiting;
    size_t bytes;
  };
  Goal goal{this, waiting, bytes};
  absl::MutexLock lock(&mu_);
  mu_.Await(absl::Condition(
      +[](Goal* g) ABSL_NO_THREAD_SAFETY_ANALYSIS {
        return g->import->waiting_ <= g->waiting &&
               g->import->waiting_bytes_ <= g->bytes;
      },
      &goal));
}

absl::Status RecordImport::StoreStatus() {
  absl::MutexLock lock(&mu_);
  if (failed_.ok()) return failed_;
  const absl::Status status(
      failed_.code(),
      absl::StrCat(failed_.message(), " (after ", result_.imported(),
                   " records; the same import again goes on from there)"));
  const std::optional<absl::Duration> delay = RetryDelay(failed_);
  return delay.has_value() ? WithRetryDelay(status, *delay) : status;
}

}  // namespace camherd::aggregator
