// SPDX-License-Identifier: Apache-2.0
#include "services/aggregator/predictions_file_recovery.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "services/aggregator/data_layout.h"
#include "services/aggregator/rotated_predictions.h"
#include "services/common/file.h"
#include "services/common/log.h"
#include "services/common/status_macros.h"

namespace camherd::aggregator {
namespace {

constexpr size_t kChunk = size_t{1} << 20;
constexpr absl::string_view kMark = "\xEF\xBB\xBF";
// A longer line is none of ours.
constexpr size_t kMaxLine = size_t{256} << 20;

// Takes record_id, line and lines from the object under the key `meta`.
class MetaHandler : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit MetaHandler(PredictionLine& line) : line_(line) {}

  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t value) override {
    return Number(static_cast<int64_t>(value));
  }
  bool number_unsigned(number_unsigned_t value) override {
    return Number(static_cast<int64_t>(value));
  }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }
  bool start_object(std::size_t) override {
    if (depth_ == 0) line_.is_object = true;
    ++depth_;
    return true;
  }
  bool key(string_t& value) override {
    if (depth_ == 1) in_meta_ = value == "meta";
    key_ = value;
    return true;
  }
  bool end_object() override {
    --depth_;
    return true;
  }
  bool start_array(std::size_t) override {
    ++depth_;
    return true;
  }
  bool end_array() override {
    --depth_;
    return true;
  }
  bool parse_error(std::size_t, const std::string&,
                   const nlohmann::json::exception&) override {
    line_ = PredictionLine();
    return false;
  }

 private:
  bool Number(int64_t value) {
    if (!in_meta_ || depth_ != 2) return true;
    if (key_ == "record_id") line_.record_id = value;
    if (key_ == "line") line_.line = value;
    if (key_ == "lines") line_.lines = value;
    return true;
  }

  PredictionLine& line_;
  int depth_ = 0;
  bool in_meta_ = false;
  std::string key_;
};

// `name`, or with a number where a file has it already: a clock that went back
// gives the same name twice.
absl::StatusOr<std::string> FreeName(const std::string& name) {
  std::string free = name;
  struct stat info = {};
  for (int number = 2; ::lstat(free.c_str(), &info) == 0; ++number) {
    free = absl::StrCat(name, "-", number);
  }
  if (errno != ENOENT) return ErrnoStatus(errno, "lstat", free);
  return free;
}

// The open file and what is found in it.
class PredictionsReader {
 public:
  PredictionsReader(const std::string& path, absl::Time now)
      : path_(path), now_(now) {}
  PredictionsReader(const PredictionsReader&) = delete;
  PredictionsReader& operator=(const PredictionsReader&) = delete;
  ~PredictionsReader() {
    if (fd_ >= 0) ::close(fd_);
  }

  // False: there is no such file.
  absl::StatusOr<bool> OpenExisting() {
    struct stat info = {};
    if (::stat(path_.c_str(), &info) != 0) {
      if (errno == ENOENT) return false;
      return ErrnoStatus(errno, "stat", path_);
    }
    if (!S_ISREG(info.st_mode)) {
      return absl::FailedPreconditionError(absl::StrCat(
          path_, " is ", S_ISDIR(info.st_mode) ? "a folder" : "a special file",
          ", not a regular file; move it away, or set "
          "aggregator.predictions_file to false"));
    }
    fd_ = ::open(path_.c_str(), O_RDWR | O_APPEND | O_CLOEXEC);
    if (fd_ < 0 && errno == EACCES) {
      return absl::PermissionDeniedError(absl::StrCat(
          path_, " cannot be read and written: it belongs to user ",
          info.st_uid, ", this process is of user ", ::geteuid(),
          absl::StrFormat(", its mode is %04o", info.st_mode & 07777),
          "; chown or chmod it, or move it away"));
    }
    if (fd_ < 0) return ErrnoStatus(errno, "open", path_);
    CAMHERD_RETURN_IF_ERROR(Lock());
    if (::fstat(fd_, &info) != 0) return ErrnoStatus(errno, "fstat", path_);
    size_ = info.st_size;
    return true;
  }

  absl::Status OpenNew() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = ::open(path_.c_str(), O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
    if (fd_ < 0) return ErrnoStatus(errno, "open", path_);
    CAMHERD_RETURN_IF_ERROR(Lock());
    size_ = 0;
    return SyncName();
  }

  // Moves the whole file aside and begins a new one.
  absl::Status MoveAside() {
    CAMHERD_ASSIGN_OR_RETURN(const std::string aside,
                             FreeName(ForeignFile(path_, now_)));
    if (::rename(path_.c_str(), aside.c_str()) != 0) {
      return ErrnoStatus(errno, "rename", path_);
    }
    LogWarning(
        "predictions.json is not one JSON object a line, moved aside; "
        "`camherd-aggregator import` takes its records into the store",
        {{"path", path_}, {"moved_to", aside}});
    return OpenNew();
  }

  // Makes room after what others wrote: lines stay, anything else is moved
  // aside.
  absl::Status KeepForeign() {
    if (size_ == 0) return absl::OkStatus();
    CAMHERD_ASSIGN_OR_RETURN(const bool lines, IsLineForm());
    return lines ? FinishLastLine() : MoveAside();
  }

  // Moves what begins at `offset` to a side file.
  absl::Status CutTail(int64_t offset) {
    if (offset >= size_) return absl::OkStatus();
    const std::string aside = TornFile(path_, now_);
    CAMHERD_RETURN_IF_ERROR(CopyTail(offset, aside));
    if (::ftruncate(fd_, offset) != 0) {
      return ErrnoStatus(errno, "ftruncate", path_);
    }
    LogWarning("torn tail of predictions.json moved aside",
               {{"path", path_},
                {"moved_to", aside},
                {"offset", offset},
                {"bytes", size_ - offset}});
    size_ = offset;
    return Sync();
  }

  // Ends an unfinished last line: a whole object gets its newline, anything
  // else is moved aside.
  absl::Status FinishLastLine() {
    if (size_ == 0) return absl::OkStatus();
    CAMHERD_ASSIGN_OR_RETURN(const int64_t start, LastLineStart(size_));
    if (start == size_) return absl::OkStatus();
    CAMHERD_ASSIGN_OR_RETURN(const std::string last,
                             Read(start, size_ - start));
    if (!InspectLine(last).is_object) return CutTail(start);
    if (::write(fd_, "\n", 1) != 1) return ErrnoStatus(errno, "write", path_);
    ++size_;
    return Sync();
  }

  // Where the line begins that lies before `end`: `end` itself if the byte
  // before it is a newline.
  absl::StatusOr<int64_t> LastLineStart(int64_t end) {
    while (end > 0) {
      const int64_t from = std::max<int64_t>(0, end - int64_t{kChunk});
      CAMHERD_ASSIGN_OR_RETURN(const std::string chunk, Read(from, end - from));
      const size_t newline = chunk.rfind('\n');
      if (newline != std::string::npos) {
        return from + static_cast<int64_t>(newline) + 1;
      }
      end = from;
    }
    return 0;
  }

  // By the braces, since a line may have bytes that are no UTF-8.
  absl::StatusOr<bool> IsLineForm() {
    CAMHERD_ASSIGN_OR_RETURN(std::optional<std::string> first, Line(0));
    const bool ended = first.has_value();
    // One line without its end.
    if (!ended) {
      if (size_ > int64_t{kMaxLine}) return false;
      CAMHERD_ASSIGN_OR_RETURN(first, Read(0, size_));
    }
    absl::string_view text = *first;
    absl::ConsumePrefix(&text, kMark);
    text = absl::StripAsciiWhitespace(text);
    return absl::StartsWith(text, "{") && (!ended || absl::EndsWith(text, "}"));
  }

  // True if the line that ends at the cursor can be the cursor's: its record's,
  // or one that was there before and is of another store.
  absl::StatusOr<bool> Fits(const PredictionsCursor& cursor,
                            int64_t last_committed) {
    if (cursor.offset == 0) return true;
    if (cursor.offset > size_) return false;
    CAMHERD_ASSIGN_OR_RETURN(const std::string end, Read(cursor.offset - 1, 1));
    if (end != "\n") return false;
    CAMHERD_ASSIGN_OR_RETURN(const int64_t start,
                             LastLineStart(cursor.offset - 1));
    if (cursor.offset - start > int64_t{kMaxLine}) return false;
    CAMHERD_ASSIGN_OR_RETURN(const std::string last,
                             Read(start, cursor.offset - start));
    const PredictionLine line = InspectLine(last);
    return line.is_object && (line.record_id <= cursor.last_record_id ||
                              line.record_id > last_committed);
  }

  // Counts the lines after the cursor as written, up to the first that is torn
  // or belongs to a record whose lines are not all there. That and what
  // follows is moved aside.
  absl::Status CountLines(PredictionsCursor& cursor, int64_t last_committed) {
    int64_t at = cursor.offset;
    // First byte not accounted for: the record's first line.
    int64_t good = at;
    while (at < size_) {
      CAMHERD_ASSIGN_OR_RETURN(const std::optional<std::string> text, Line(at));
      if (!text.has_value()) break;
      const PredictionLine line = InspectLine(*text);
      if (!line.is_object) break;
      at += static_cast<int64_t>(text->size()) + 1;
      const bool ours = line.record_id > 0 && line.record_id <= last_committed;
      if (ours && line.line < line.lines) continue;
      good = at;
      if (ours) {
        cursor.last_record_id = std::max(cursor.last_record_id, line.record_id);
      }
    }
    cursor.offset = good;
    return CutTail(good);
  }

  absl::Status Sync() {
    if (::fdatasync(fd_) != 0) {
      LogFatal("fsync of predictions.json failed",
               {{"error", ErrnoStatus(errno, "fdatasync", path_)}});
    }
    return absl::OkStatus();
  }

  absl::Status SyncName() {
    const size_t slash = path_.rfind('/');
    return SyncDir(slash == std::string::npos ? "." : path_.substr(0, slash));
  }

  int64_t size() const { return size_; }

  int Release() {
    const int fd = fd_;
    fd_ = -1;
    return fd;
  }

 private:
  // The lock of the data folder does not keep out a service on another folder
  // from where a link leads to the same file.
  absl::Status Lock() {
    if (::flock(fd_, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) {
      return absl::OkStatus();
    }
    return absl::FailedPreconditionError(
        absl::StrCat(path_, " is locked: another process writes it"));
  }

  absl::StatusOr<std::string> Read(int64_t offset, int64_t length) {
    std::string data(static_cast<size_t>(length), '\0');
    size_t done = 0;
    while (done < data.size()) {
      const ssize_t got =
          ::pread(fd_, data.data() + done, data.size() - done,
                  static_cast<off_t>(offset + static_cast<int64_t>(done)));
      if (got < 0) {
        if (errno == EINTR) continue;
        return ErrnoStatus(errno, "read", path_);
      }
      if (got == 0) break;
      done += static_cast<size_t>(got);
    }
    data.resize(done);
    return data;
  }

  // The line that begins at `offset`, without its newline; empty: it has none,
  // or it is longer than any of ours.
  absl::StatusOr<std::optional<std::string>> Line(int64_t offset) {
    std::string line;
    while (offset < size_ && line.size() <= kMaxLine) {
      CAMHERD_ASSIGN_OR_RETURN(
          std::string chunk,
          Read(offset, std::min(int64_t{kChunk}, size_ - offset)));
      if (chunk.empty()) break;
      const size_t newline = chunk.find('\n');
      if (newline != std::string::npos) {
        line.append(chunk, 0, newline);
        return std::optional<std::string>(std::move(line));
      }
      line += chunk;
      offset += static_cast<int64_t>(chunk.size());
    }
    return std::optional<std::string>();
  }

  absl::Status CopyTail(int64_t offset, const std::string& aside) {
    const int out =
        ::open(aside.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (out < 0) return ErrnoStatus(errno, "open", aside);
    absl::Status status;
    while (status.ok() && offset < size_) {
      const absl::StatusOr<std::string> chunk =
          Read(offset, std::min(int64_t{kChunk}, size_ - offset));
      if (!chunk.ok()) {
        status = chunk.status();
        break;
      }
      if (chunk->empty()) break;
      const ssize_t put = ::write(out, chunk->data(), chunk->size());
      if (put < 0 && errno != EINTR)
        status = ErrnoStatus(errno, "write", aside);
      if (put > 0) offset += put;
    }
    if (status.ok() && ::fdatasync(out) != 0) {
      status = ErrnoStatus(errno, "fdatasync", aside);
    }
    ::close(out);
    CAMHERD_RETURN_IF_ERROR(status);
    return SyncName();
  }

  const std::string path_;
  const absl::Time now_;
  int fd_ = -1;
  int64_t size_ = 0;
};

}  // namespace

PredictionLine InspectLine(absl::string_view text) {
  PredictionLine line;
  MetaHandler handler(line);
  const bool whole = nlohmann::json::sax_parse(
      text.data(), text.data() + text.size(), &handler);
  return whole ? line : PredictionLine();
}

absl::StatusOr<OpenedPredictions> OpenPredictions(
    const std::string& path, const PredictionsCursor& cursor,
    int64_t last_committed, absl::Time now) {
  PredictionsReader file(path, now);
  PredictionsCursor next = cursor;
  const std::vector<RotatedPredictions> rotated = ListRotatedPredictions(path);
  if (!rotated.empty()) {
    next.rotated = std::max(cursor.rotated, rotated.back().number);
  }
  const bool was_rotated = next.rotated > cursor.rotated;
  CAMHERD_ASSIGN_OR_RETURN(const bool exists, file.OpenExisting());
  if (!exists || (was_rotated && file.size() == 0)) {
    CAMHERD_RETURN_IF_ERROR(file.OpenNew());
    if (cursor.generation > 0 && !was_rotated) {
      LogWarning("predictions.json is gone, a new one begins",
                 {{"path", path}, {"after_record", cursor.last_record_id}});
    }
    ++next.generation;
    next.newest_us = 0;
  } else if (cursor.generation == 0) {
    CAMHERD_RETURN_IF_ERROR(file.KeepForeign());
    next.generation = 1;
  } else {
    CAMHERD_ASSIGN_OR_RETURN(const bool fits,
                             file.Fits(cursor, last_committed));
    if (fits) {
      CAMHERD_RETURN_IF_ERROR(file.CountLines(next, last_committed));
    } else {
      LogWarning("predictions.json was edited, going on after its end",
                 {{"path", path},
                  {"after_record", cursor.last_record_id},
                  {"bytes", file.size()},
                  {"bytes_expected", cursor.offset}});
      CAMHERD_RETURN_IF_ERROR(file.KeepForeign());
      ++next.generation;
    }
  }
  next.offset = file.size();
  CAMHERD_RETURN_IF_ERROR(file.Sync());
  return OpenedPredictions{.fd = file.Release(), .cursor = next};
}

}  // namespace camherd::aggregator
