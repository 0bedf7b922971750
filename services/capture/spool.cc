// SPDX-License-Identifier: Apache-2.0
#include "services/capture/spool.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "services/common/file.h"
#include "services/common/log.h"

namespace camherd::capture {
namespace {

// Fewer are kept in reserve, for the store and what is under way.
constexpr fsfilcnt_t kMinInodes = 32;

}  // namespace

absl::Status LinkFile(const std::string& from, const std::string& to) {
  if (link(from.c_str(), to.c_str()) == 0) return absl::OkStatus();
  if (errno == EEXIST) {
    // Left by a crash between link and commit, under a number used again.
    if (unlink(to.c_str()) == 0 && link(from.c_str(), to.c_str()) == 0) {
      return absl::OkStatus();
    }
  }
  return ErrnoStatus(errno, "link", from);
}

absl::Status UnlinkFile(const std::string& path) {
  if (unlink(path.c_str()) == 0 || errno == ENOENT) return absl::OkStatus();
  return ErrnoStatus(errno, "unlink", path);
}

absl::Status SyncFile(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return ErrnoStatus(errno, "open", path);
  if (fsync(fd) != 0) {
    LogFatal("fsync of the spool failed",
             {{"error", ErrnoStatus(errno, "fsync", path)}});
  }
  close(fd);
  return absl::OkStatus();
}

absl::StatusOr<int64_t> FileSize(const std::string& path) {
  struct stat info = {};
  if (lstat(path.c_str(), &info) != 0) return ErrnoStatus(errno, "stat", path);
  if (!S_ISREG(info.st_mode)) {
    return absl::NotFoundError(absl::StrCat(path, " is not a file"));
  }
  return info.st_size;
}

absl::StatusOr<int64_t> FreeBytes(const std::string& path) {
  struct statvfs info = {};
  if (statvfs(path.c_str(), &info) != 0) {
    return ErrnoStatus(errno, "statvfs", path);
  }
  // Some file systems have no such table.
  if (info.f_files > 0 && info.f_favail < kMinInodes) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "the table of inodes is full: ", info.f_favail,
        " more files can be made, ", kMinInodes, " are kept in reserve"));
  }
  return static_cast<int64_t>(info.f_bavail) *
         static_cast<int64_t>(info.f_frsize);
}

std::vector<std::string> ListFolder(const std::string& path) {
  std::vector<std::string> names;
  DIR* dir = opendir(path.c_str());
  if (dir == nullptr) return names;
  while (const dirent* entry = readdir(dir)) {
    const absl::string_view name(entry->d_name);
    if (name != "." && name != "..") names.emplace_back(name);
  }
  closedir(dir);
  std::sort(names.begin(), names.end());
  return names;
}

int RemoveFolder(const std::string& path) {
  int removed = 0;
  for (const std::string& name : ListFolder(path)) {
    if (unlink(absl::StrCat(path, "/", name).c_str()) == 0) ++removed;
  }
  RemoveEmptyFolder(path);
  return removed;
}

void RemoveEmptyFolder(const std::string& path) { rmdir(path.c_str()); }

bool IsSessionFolder(absl::string_view name) {
  constexpr size_t kUuid = 36;
  if (name.size() < kUuid + 2) return false;
  const absl::string_view uuid = name.substr(name.size() - kUuid);
  if (name[name.size() - kUuid - 1] != '_') return false;
  for (size_t i = 0; i < kUuid; ++i) {
    const bool dash = i == 8 || i == 13 || i == 18 || i == 23;
    if (dash ? uuid[i] != '-'
             : !absl::ascii_isxdigit(static_cast<unsigned char>(uuid[i]))) {
      return false;
    }
  }
  return true;
}

}  // namespace camherd::capture
