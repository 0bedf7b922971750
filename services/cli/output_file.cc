// SPDX-License-Identifier: Apache-2.0
#include "services/cli/output_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "services/cli/interrupt.h"
#include "services/common/file.h"

namespace camherd::cli {

absl::StatusOr<std::unique_ptr<OutputFile>> OutputFile::Create(
    const std::string& path) {
  std::unique_ptr<OutputFile> file(new OutputFile());
  if (path.empty() || path == "-") {
    file->file_ = stdout;
    return file;
  }
  // A device or a pipe is no file that could be replaced.
  struct stat info = {};
  if (stat(path.c_str(), &info) == 0 && !S_ISREG(info.st_mode)) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, " is there, and is no file"));
  }
  file->path_ = path;
  file->temporary_ = absl::StrCat(path, ".", getpid(), ".tmp");
  RemoveAtInterrupt(file->temporary_);
  const int fd = open(file->temporary_.c_str(),
                      O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (fd < 0) {
    const absl::Status status = ErrnoStatus(errno, "open", file->temporary_);
    file->temporary_.clear();
    RemoveAtInterrupt("");
    return status;
  }
  file->file_ = fdopen(fd, "w");
  return file;
}

OutputFile::~OutputFile() {
  if (is_standard_output()) return;
  if (file_ != nullptr) std::fclose(file_);
  if (!temporary_.empty()) unlink(temporary_.c_str());
  RemoveAtInterrupt("");
}

absl::Status OutputFile::Write(absl::string_view data) {
  if (std::fwrite(data.data(), 1, data.size(), file_) == data.size()) {
    return absl::OkStatus();
  }
  return ErrnoStatus(errno, "write",
                     is_standard_output() ? "standard output" : temporary_);
}

absl::Status OutputFile::Commit() {
  if (std::fflush(file_) != 0) {
    return ErrnoStatus(errno, "write",
                       is_standard_output() ? "standard output" : temporary_);
  }
  if (is_standard_output()) return absl::OkStatus();
  if (fdatasync(fileno(file_)) != 0) {
    return ErrnoStatus(errno, "fdatasync", temporary_);
  }
  if (rename(temporary_.c_str(), path_.c_str()) != 0) {
    return ErrnoStatus(errno, "rename", path_);
  }
  temporary_.clear();
  return absl::OkStatus();
}

}  // namespace camherd::cli
