// SPDX-License-Identifier: Apache-2.0
#include "services/common/secret_file.h"

#include <sys/stat.h>

#include <cerrno>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "services/common/file.h"

namespace camherd {

absl::StatusOr<std::string> ReadSecretFile(const std::string& path,
                                           size_t max_bytes) {
  struct stat info = {};
  if (stat(path.c_str(), &info) != 0) return ErrnoStatus(errno, "stat", path);
  if (!S_ISREG(info.st_mode)) {
    return absl::FailedPreconditionError(absl::StrCat(path, " is no file"));
  }
  if ((info.st_mode & (S_IRWXO | S_IWGRP)) != 0) {
    return absl::PermissionDeniedError(absl::StrCat(
        path,
        " must be readable by its owner and group only, and writable by "
        "its owner only: chmod 600"));
  }
  return ReadFile(path, max_bytes);
}

}  // namespace camherd
