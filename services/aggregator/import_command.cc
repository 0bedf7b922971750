// SPDX-License-Identifier: Apache-2.0
#include "services/aggregator/import_command.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "camherd/v1/aggregator_service.pb.h"
#include "services/aggregator/data_layout.h"
#include "services/aggregator/import_client.h"
#include "services/aggregator/record_import.h"
#include "services/aggregator/sqlite_record_store.h"
#include "services/common/audit_log.h"
#include "services/common/clock.h"
#include "services/common/file.h"
#include "services/common/folder_lock.h"
#include "services/common/status_macros.h"

namespace camherd::aggregator {
namespace {

constexpr size_t kReadBytes = size_t{256} << 10;
constexpr absl::Duration kProgressInterval = absl::Seconds(5);

// Where the bytes go.
struct Sink {
  std::function<absl::Status(absl::string_view)> add;
  std::function<absl::StatusOr<v1::ImportRecordsResponse>()> finish;
};

// An open file, closed at the end.
class Input {
 public:
  ~Input() {
    if (fd_ > STDIN_FILENO) ::close(fd_);
  }

  absl::Status Open(const std::string& path) {
    path_ = path == "-" ? "standard input" : path;
    fd_ =
        path == "-" ? STDIN_FILENO : ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd_ < 0) return ErrnoStatus(errno, "open", path_);
    struct stat info = {};
    if (::fstat(fd_, &info) != 0) return ErrnoStatus(errno, "fstat", path_);
    if (S_ISDIR(info.st_mode)) {
      return absl::FailedPreconditionError(
          absl::StrCat(path_, " is a folder, not a file"));
    }
    // A file to which lines are written meanwhile is read up to what it had.
    if (S_ISREG(info.st_mode) && path != "-") size_ = info.st_size;
    return absl::OkStatus();
  }

  // Empty at the end.
  absl::StatusOr<absl::string_view> Read() {
    const int64_t left =
        size_.value_or(std::numeric_limits<int64_t>::max()) - done_;
    while (true) {
      const ssize_t got =
          ::read(fd_, buffer_.data(),
                 std::min(buffer_.size(), static_cast<size_t>(left)));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return ErrnoStatus(errno, "read", path_);
      done_ += got;
      return absl::string_view(buffer_.data(), static_cast<size_t>(got));
    }
  }

  std::string Progress() const {
    const std::string done = absl::StrCat(done_ >> 20);
    return size_.has_value()
               ? absl::StrCat(done, " of ", *size_ >> 20, " MiB read")
               : absl::StrCat(done, " MiB read");
  }

 private:
  int fd_ = -1;
  std::string path_;
  std::optional<int64_t> size_;
  int64_t done_ = 0;
  std::string buffer_ = std::string(kReadBytes, '\0');
};

void Say(FILE* err, absl::string_view text) {
  std::fprintf(err, "camherd-aggregator import: %s\n",
               std::string(text).c_str());
}

absl::StatusOr<v1::ImportRecordsResponse> Copy(Input& input, const Sink& sink,
                                               FILE* err) {
  absl::Duration next = Clock::Real().SteadyNow() + kProgressInterval;
  while (true) {
    CAMHERD_ASSIGN_OR_RETURN(const absl::string_view bytes, input.Read());
    if (bytes.empty()) return sink.finish();
    CAMHERD_RETURN_IF_ERROR(sink.add(bytes));
    if (const absl::Duration now = Clock::Real().SteadyNow(); now >= next) {
      Say(err, input.Progress());
      next = now + kProgressInterval;
    }
  }
}

absl::StatusOr<v1::ImportRecordsResponse> ThroughService(
    Input& input, const std::string& address, const GrpcSecurity& security,
    FILE* err) {
  Say(err, absl::StrCat("through the service at ", address));
  ImportClient client(address, security);
  return Copy(
      input,
      {.add = [&](absl::string_view bytes) { return client.Add(bytes); },
       .finish = [&] { return client.Finish(); }},
      err);
}

// Files of root's would be in the way of the service that comes later.
absl::Status CheckOwner(const std::string& data_dir) {
  struct stat info = {};
  if (::stat(data_dir.c_str(), &info) != 0) {
    return ErrnoStatus(errno, "stat", data_dir);
  }
  if (info.st_uid == ::geteuid()) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat(data_dir, " must belong to the user that imports, got user ",
                   info.st_uid, " and ", ::geteuid(),
                   ": import as that user, or through the running service"));
}

absl::StatusOr<v1::ImportRecordsResponse> IntoStore(Input& input,
                                                    const ImportPlace& place,
                                                    FILE* err) {
  CAMHERD_RETURN_IF_ERROR(CheckOwner(place.data_dir));
  CAMHERD_ASSIGN_OR_RETURN(
      const std::unique_ptr<SqliteRecordStore> store,
      SqliteRecordStore::Create({.data_dir = place.data_dir}, Clock::Real()));
  RecordImport import({.timezone = place.timezone},
                      [&](NewRecord record, RecordStore::AppendDone done) {
                        store->Append(std::move(record), std::move(done));
                      });
  return Copy(
      input,
      {.add = [&](absl::string_view bytes) { return import.Add(bytes); },
       .finish = [&] { return import.Finish(); }},
      err);
}

absl::StatusOr<v1::ImportRecordsResponse> Import(Input& input,
                                                 const std::string& address,
                                                 const ImportPlace& place,
                                                 FILE* err) {
  if (!address.empty()) {
    return ThroughService(input, address, place.security, err);
  }
  CAMHERD_RETURN_IF_ERROR(MakeDirs(place.data_dir));
  const absl::StatusOr<std::unique_ptr<FolderLock>> lock =
      FolderLock::Take(LockFile(place.data_dir));
  if (lock.ok()) {
    absl::StatusOr<v1::ImportRecordsResponse> imported =
        IntoStore(input, place, err);
    // A service would have done so.
    if (!place.audit_file.empty()) {
      AuditLog({.path = place.audit_file, .service = "aggregator"},
               Clock::Real())
          .Write(
              {.method = "ImportRecords",
               .agent =
                   absl::StrCat("camherd-aggregator import, user ", geteuid()),
               .result = absl::StatusCodeToString(imported.status().code())});
    }
    return imported;
  }
  if (!absl::IsFailedPrecondition(lock.status())) return lock.status();
  if (absl::EndsWith(place.listen, ":0")) {
    return absl::FailedPreconditionError(
        absl::StrCat(lock.status().message(),
                     ", and its port is of its own choice: name its address "
                     "with --address"));
  }
  return ThroughService(input, place.listen, place.security, err);
}

}  // namespace

std::vector<ServiceOption> ImportOptions() {
  return {{.name = "",
           .value = "FILE",
           .help = "a predictions.json, lines or an array; -: standard input"},
          {.name = "address",
           .value = "ADDR",
           .help = "host:port of the service to send it to; left out: that\n"
                   "of aggregator.listen if it runs on the data folder,\n"
                   "else the records are put there without it"}};
}

int RunImportCommand(const std::map<std::string, std::string>& given,
                     const ImportPlace& place, FILE* err) {
  const auto value = [&](const char* name) {
    const auto it = given.find(name);
    return it == given.end() ? std::string() : it->second;
  };
  if (given.contains("address") && value("address").empty()) {
    Say(err, "--address must be host:port, got \"\"");
    return 2;
  }
  Input input;
  if (const absl::Status opened = input.Open(value("")); !opened.ok()) {
    Say(err, opened.message());
    return 1;
  }
  const absl::StatusOr<v1::ImportRecordsResponse> result =
      Import(input, value("address"), place, err);
  if (!result.ok()) {
    Say(err, result.status().message());
    return 1;
  }
  for (const v1::RowError& error : result->errors()) {
    Say(err, absl::StrCat("line ", error.line(), ": ", error.message()));
  }
  if (result->failed() > result->errors_size()) {
    Say(err, absl::StrCat("and ", result->failed() - result->errors_size(),
                          " more"));
  }
  std::fprintf(err, "%s records imported, %s there already, %s faults\n",
               absl::StrCat(result->imported()).c_str(),
               absl::StrCat(result->already_present()).c_str(),
               absl::StrCat(result->failed()).c_str());
  return result->failed() > 0 ? 3 : 0;
}

}  // namespace camherd::aggregator
