// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace camherd {

// Keeps a second process of a service out of a data folder: holds a flock on a
// file in it for as long as it lives. The lock goes with the process, however
// it ends.
class FolderLock {
 public:
  // kFailedPrecondition, naming the path: another process holds it.
  static absl::StatusOr<std::unique_ptr<FolderLock>> Take(
      const std::string& path);
  ~FolderLock();

  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  explicit FolderLock(int fd) : fd_(fd) {}

  const int fd_;
};

}  // namespace camherd
