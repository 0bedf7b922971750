// SPDX-License-Identifier: Apache-2.0
#include "services/common/file.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <memory>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "services/common/log.h"
#include "services/common/status_macros.h"

namespace camherd {
namespace {

// Closes on scope's end; Close() reports what close() says.
class Fd {
 public:
  explicit Fd(int fd) : fd_(fd) {}
  ~Fd() {
    if (fd_ >= 0) close(fd_);
  }
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;

  int get() const { return fd_; }
  bool Close() { return close(std::exchange(fd_, -1)) == 0; }

 private:
  int fd_;
};

int OpenRetrying(const std::string& path, int flags, unsigned mode = 0) {
  int fd = -1;
  do {
    fd = open(path.c_str(), flags | O_CLOEXEC, mode);
  } while (fd < 0 && errno == EINTR);
  return fd;
}

absl::Status WriteAll(int fd, absl::string_view data, const std::string& path) {
  while (!data.empty()) {
    const ssize_t n = write(fd, data.data(), data.size());
    if (n < 0) {
      if (errno == EINTR) continue;
      return ErrnoStatus(errno, "write", path);
    }
    data.remove_prefix(static_cast<size_t>(n));
  }
  return absl::OkStatus();
}

// Up to `size` bytes; fewer only at the end of the file.
absl::StatusOr<size_t> ReadUpTo(int fd, char* data, size_t size,
                                const std::string& path) {
  size_t done = 0;
  while (done < size) {
    const ssize_t n = read(fd, data + done, size - done);
    if (n == 0) break;
    if (n < 0) {
      if (errno == EINTR) continue;
      return ErrnoStatus(errno, "read", path);
    }
    done += static_cast<size_t>(n);
  }
  return done;
}

std::string FolderOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

absl::Status WriteTemporary(const std::string& temporary,
                            const std::string& path, absl::string_view data,
                            Sync sync, unsigned mode) {
  Fd fd(
      OpenRetrying(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, mode));
  if (fd.get() < 0) return ErrnoStatus(errno, "open", temporary);
  CAMHERD_RETURN_IF_ERROR(WriteAll(fd.get(), data, temporary));
  if (sync == Sync::kData && fdatasync(fd.get()) != 0) {
    return ErrnoStatus(errno, "fdatasync", temporary);
  }
  if (!fd.Close()) return ErrnoStatus(errno, "close", temporary);
  if (rename(temporary.c_str(), path.c_str()) != 0) {
    return ErrnoStatus(errno, "rename", path);
  }
  return absl::OkStatus();
}

class Hasher {
 public:
  Hasher() : context_(EVP_MD_CTX_new(), &EVP_MD_CTX_free) {
    if (context_ == nullptr ||
        EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) != 1) {
      LogFatal("SHA-256 is not available");
    }
  }
  void Add(absl::string_view data) {
    if (EVP_DigestUpdate(context_.get(), data.data(), data.size()) != 1) {
      LogFatal("SHA-256 failed");
    }
  }
  std::string Finish() {
    std::string digest(32, '\0');
    if (EVP_DigestFinal_ex(context_.get(),
                           reinterpret_cast<unsigned char*>(digest.data()),
                           nullptr) != 1) {
      LogFatal("SHA-256 failed");
    }
    return digest;
  }

 private:
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context_;
};

}  // namespace

absl::Status WriteFileAtomically(const std::string& path,
                                 absl::string_view data, Sync sync,
                                 unsigned mode) {
  static std::atomic<unsigned> counter = 0;
  const std::string temporary =
      absl::StrCat(path, ".", getpid(), "-", ++counter, ".tmp");
  absl::Status status = WriteTemporary(temporary, path, data, sync, mode);
  if (!status.ok()) {
    unlink(temporary.c_str());
    return status;
  }
  return sync == Sync::kData ? SyncDir(FolderOf(path)) : absl::OkStatus();
}

absl::StatusOr<std::string> ReadFile(const std::string& path,
                                     size_t max_bytes) {
  Fd fd(OpenRetrying(path, O_RDONLY));
  if (fd.get() < 0) return ErrnoStatus(errno, "open", path);
  struct stat info;
  if (fstat(fd.get(), &info) != 0) return ErrnoStatus(errno, "stat", path);
  // The size is a hint only: it may grow, and is 0 in /proc.
  std::string data;
  size_t chunk = S_ISREG(info.st_mode) && info.st_size > 0
                     ? static_cast<size_t>(info.st_size)
                     : 4096;
  chunk = std::min(chunk, max_bytes) + 1;
  while (true) {
    const size_t before = data.size();
    data.resize(before + chunk);
    CAMHERD_ASSIGN_OR_RETURN(
        const size_t n, ReadUpTo(fd.get(), data.data() + before, chunk, path));
    data.resize(before + n);
    if (data.size() > max_bytes) {
      return absl::OutOfRangeError(absl::StrCat(
          path, " must be at most ", max_bytes, " bytes, and is longer"));
    }
    if (n < chunk) return data;
  }
}

// Names are made durable too: files that are synced in a folder that is gone
// after a power cut are gone with it. A process that was killed here before may
// have left a name that is not, at most one above the first that is missing
// now, or the last.
absl::Status MakeDirs(const std::string& path, unsigned mode) {
  if (path.empty()) return absl::InvalidArgumentError("empty folder name");
  const auto sync_name_of = [](const std::string& part) {
    const absl::Status synced = SyncDir(FolderOf(part));
    // Who may not read a folder cannot sync it.
    return absl::IsPermissionDenied(synced) ? absl::OkStatus() : synced;
  };
  bool made = false;
  std::string part;
  size_t end = 0;
  do {
    const std::string above = std::exchange(part, "");
    end = path.find('/', end + 1);
    part = path.substr(0, end);
    if (mkdir(part.c_str(), mode) == 0) {
      if (!made && !above.empty()) {
        CAMHERD_RETURN_IF_ERROR(sync_name_of(above));
      }
      made = true;
      CAMHERD_RETURN_IF_ERROR(sync_name_of(part));
      continue;
    }
    const int error = errno;
    struct stat info;
    if (stat(part.c_str(), &info) != 0) {
      return ErrnoStatus(error, "mkdir", part);
    }
    if (!S_ISDIR(info.st_mode)) return ErrnoStatus(ENOTDIR, "mkdir", part);
  } while (end != std::string::npos);
  return made ? absl::OkStatus() : sync_name_of(part);
}

absl::Status SyncDir(const std::string& path) {
  Fd fd(OpenRetrying(path, O_RDONLY | O_DIRECTORY));
  if (fd.get() < 0) return ErrnoStatus(errno, "open", path);
  if (fsync(fd.get()) != 0) return ErrnoStatus(errno, "fsync", path);
  return absl::OkStatus();
}

absl::Status ErrnoStatus(int error, absl::string_view call,
                         absl::string_view path) {
  char buffer[128];
  const std::string message = absl::StrCat(
      call, " ", path, ": ", strerror_r(error, buffer, sizeof(buffer)));
  switch (error) {
    case ENOENT:
      return absl::NotFoundError(message);
    case ENOSPC:
    case EDQUOT:
      return absl::ResourceExhaustedError(message);
    case EACCES:
    case EPERM:
    case EROFS:
      return absl::PermissionDeniedError(message);
    case EIO:
      return absl::UnavailableError(message);
    default:
      return absl::InternalError(message);
  }
}

std::string Sha256(absl::string_view data) {
  Hasher hasher;
  hasher.Add(data);
  return hasher.Finish();
}

std::string Sha256Hex(absl::string_view data) {
  return absl::BytesToHexString(Sha256(data));
}

absl::StatusOr<std::string> Sha256HexOfFile(const std::string& path) {
  Fd fd(OpenRetrying(path, O_RDONLY));
  if (fd.get() < 0) return ErrnoStatus(errno, "open", path);
  Hasher hasher;
  std::string buffer(1 << 16, '\0');
  while (true) {
    CAMHERD_ASSIGN_OR_RETURN(
        const size_t n, ReadUpTo(fd.get(), buffer.data(), buffer.size(), path));
    hasher.Add(absl::string_view(buffer.data(), n));
    if (n < buffer.size()) return absl::BytesToHexString(hasher.Finish());
  }
}

}  // namespace camherd
