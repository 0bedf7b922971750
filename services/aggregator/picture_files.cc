// SPDX-License-Identifier: Apache-2.0
#include "services/aggregator/picture_files.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <filesystem>
#include <system_error>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "services/aggregator/data_layout.h"
#include "services/common/file.h"
#include "services/common/log.h"
#include "services/common/status_macros.h"

namespace camherd::aggregator {
namespace {

// Two days' worth of hours; more is forgotten and looked up anew.
constexpr size_t kKnownFolders = 48;
constexpr int kFolderTries = 3;
constexpr size_t kMaxPictureBytes = size_t{64} << 20;

bool IsFull(int error) { return error == ENOSPC || error == EDQUOT; }

}  // namespace

PictureFiles::PictureFiles(const Options& options) : options_(options) {}

absl::StatusOr<std::unique_ptr<PictureFiles>> PictureFiles::Create(
    const Options& options) {
  std::unique_ptr<PictureFiles> files(new PictureFiles(options));
  const std::string temp = PictureTempDir(options.data_dir);
  std::error_code error;
  std::filesystem::remove_all(temp, error);
  CAMHERD_RETURN_IF_ERROR(MakeDirs(temp));
  return files;
}

std::unique_ptr<PictureFiles> PictureFiles::OfAnother(
    const std::string& data_dir) {
  return std::unique_ptr<PictureFiles>(
      new PictureFiles({.data_dir = data_dir}));
}

absl::Status PictureFiles::MakeFolder(const std::string& folder) {
  {
    absl::MutexLock lock(&mu_);
    if (folders_.count(folder) > 0) return absl::OkStatus();
  }
  const std::string path = absl::StrCat(options_.data_dir, "/", folder);
  const absl::Status made = MakeDirs(path);
  if (absl::IsUnavailable(made)) {
    LogFatal("folder of pictures cannot be made durable", {{"error", made}});
  }
  CAMHERD_RETURN_IF_ERROR(made);
  absl::MutexLock lock(&mu_);
  if (folders_.size() >= kKnownFolders) folders_.clear();
  folders_.insert(folder);
  return absl::OkStatus();
}

absl::Status PictureFiles::WriteTemp(const std::string& temp,
                                     absl::string_view jpeg) {
  const int fd =
      ::open(temp.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0) return ErrnoStatus(errno, "open", temp);
  while (!jpeg.empty()) {
    const ssize_t written = ::write(fd, jpeg.data(), jpeg.size());
    if (written < 0) {
      if (errno == EINTR) continue;
      const absl::Status status = ErrnoStatus(errno, "write", temp);
      ::close(fd);
      return status;
    }
    jpeg.remove_prefix(static_cast<size_t>(written));
  }
  const int result = options_.sync ? options_.sync(fd) : ::fdatasync(fd);
  if (result != 0) {
    const int error = errno;
    const absl::Status status = ErrnoStatus(error, "fdatasync", temp);
    ::close(fd);
    if (!IsFull(error)) {
      LogFatal("fsync of a picture failed", {{"error", status}});
    }
    return status;
  }
  ::close(fd);
  return absl::OkStatus();
}

absl::Status PictureFiles::Write(const std::string& folder,
                                 const std::string& name,
                                 absl::string_view jpeg) {
  const std::string temp = absl::StrCat(PictureTempDir(options_.data_dir), "/",
                                        next_temp_.fetch_add(1));
  const std::string path =
      absl::StrCat(options_.data_dir, "/", folder, "/", name);
  absl::Status status = WriteTemp(temp, jpeg);
  for (int tries = 0; status.ok() && tries < kFolderTries; ++tries) {
    status = MakeFolder(folder);
    if (!status.ok() || ::rename(temp.c_str(), path.c_str()) == 0) break;
    status = ErrnoStatus(errno, "rename", path);
    {
      absl::MutexLock lock(&mu_);
      folders_.erase(folder);
    }
    // Someone removed the folder, as retention does with an empty one: made
    // anew.
    if (absl::IsNotFound(status) && tries + 1 < kFolderTries) {
      status = absl::OkStatus();
    }
  }
  if (!status.ok()) ::unlink(temp.c_str());
  return status;
}

void PictureFiles::ForEach(
    absl::FunctionRef<bool(const std::string& path)> take) const {
  using Folder = std::filesystem::directory_iterator;
  std::error_code error;
  const std::string root = RecordsDir(options_.data_dir);
  for (Folder day(root, error), end; !error && day != end;
       day.increment(error)) {
    std::error_code inner;
    for (Folder hour(day->path(), inner); !inner && hour != end;
         hour.increment(inner)) {
      std::error_code innermost;
      for (Folder file(hour->path(), innermost); !innermost && file != end;
           file.increment(innermost)) {
        const std::string below =
            file->path().string().substr(options_.data_dir.size() + 1);
        if (!take(below)) return;
      }
    }
  }
}

absl::Status PictureFiles::Remove(const std::vector<std::string>& paths) {
  absl::Status status;
  std::set<std::string> folders;
  for (const std::string& below : paths) {
    const std::string path = absl::StrCat(options_.data_dir, "/", below);
    if (::unlink(path.c_str()) != 0 && errno != ENOENT) {
      status.Update(ErrnoStatus(errno, "unlink", path));
    }
    folders.insert(below.substr(0, below.rfind('/')));
  }
  for (const std::string& folder : folders) {
    if (const absl::Status synced = SyncFolder(folder);
        !absl::IsNotFound(synced)) {
      status.Update(synced);
    }
    // records/<day>/<hour>, then records/<day>.
    if (!absl::StartsWith(folder, "records/")) continue;
    absl::MutexLock lock(&mu_);
    folders_.erase(folder);
    const std::string hour = absl::StrCat(options_.data_dir, "/", folder);
    const std::string day = hour.substr(0, hour.rfind('/'));
    if (::rmdir(hour.c_str()) == 0) ::rmdir(day.c_str());
  }
  return status;
}

absl::Status PictureFiles::SyncFolder(const std::string& folder) {
  return SyncDir(absl::StrCat(options_.data_dir, "/", folder));
}

absl::StatusOr<std::string> PictureFiles::Read(const std::string& path) {
  return ReadFile(absl::StrCat(options_.data_dir, "/", path), kMaxPictureBytes);
}

}  // namespace camherd::aggregator
