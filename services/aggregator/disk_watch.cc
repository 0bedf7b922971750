// SPDX-License-Identifier: Apache-2.0
#include "services/aggregator/disk_watch.h"

#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "services/common/file.h"
#include "services/common/log.h"
#include "services/common/retry_delay.h"
#include "services/common/status_macros.h"

namespace camherd::aggregator {
namespace {

// Fewer are kept in reserve, for the store to end what it began.
constexpr fsfilcnt_t kMinInodes = 32;

absl::StatusOr<int64_t> FreeBytes(const std::string& path) {
  struct statvfs info = {};
  if (::statvfs(path.c_str(), &info) != 0) {
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

// OK if a file can be written at `path`.
absl::Status TryWrite(const std::string& path) {
  if (path.empty()) return absl::OkStatus();
  CAMHERD_RETURN_IF_ERROR(
      WriteFileAtomically(path, "is there room?\n", Sync::kNone));
  if (::unlink(path.c_str()) != 0) return ErrnoStatus(errno, "unlink", path);
  return absl::OkStatus();
}

}  // namespace

DiskWatch::DiskWatch(const Options& options, AggregatorMetrics& metrics)
    : options_(options), metrics_(metrics) {
  Poll();
}

DiskWatch::~DiskWatch() { Stop(); }

void DiskWatch::Stop() {
  {
    SteadyMutex::Holder lock(&mu_);
    stopping_ = true;
  }
  if (thread_.joinable()) thread_.join();
  SteadyMutex::Holder lock(&mu_);
  changed_ = nullptr;
}

void DiskWatch::Start(std::function<void(const std::string&)> changed) {
  {
    SteadyMutex::Holder lock(&mu_);
    changed_ = std::move(changed);
    changed_(reason_);
  }
  thread_ = std::thread([this] {
    while (true) {
      {
        SteadyMutex::Holder lock(&mu_);
        const auto stopping = [this] {
          mu_.AssertHeld();
          return stopping_;
        };
        if (mu_.AwaitFor(stopping, options_.poll_interval)) return;
      }
      Poll();
    }
  });
}

void DiskWatch::Poll() {
  const absl::StatusOr<int64_t> free = options_.free_bytes
                                           ? options_.free_bytes(options_.path)
                                           : FreeBytes(options_.path);
  if (free.ok()) metrics_.SetDiskFree(*free);
  const absl::Status writes = TryWrite(options_.probe_file);
  SteadyMutex::Holder lock(&mu_);
  // A disk that cannot be asked is not one to be ready on.
  free_ = free.value_or(0);
  no_files_ = absl::IsResourceExhausted(free.status())
                  ? std::string(free.status().message())
                  : "";
  reason_.clear();
  if (!free.ok()) {
    reason_ = std::string(free.status().message());
  } else if (free_ < options_.low_bytes) {
    reason_ = absl::StrCat(
        "the disk is low: ", free_, " bytes free, wanted ", options_.low_bytes,
        options_.advice.empty() ? "" : "; ", options_.advice);
  } else if (!writes.ok()) {
    reason_ = absl::StrCat("the disk takes no file: ", writes.message());
  }
  const bool ready = reason_.empty();
  if (ready == ready_) return;
  ready_ = ready;
  if (ready) {
    LogInfo("disk is well again, ready",
            {{"path", options_.path}, {"free_bytes", free_}});
  } else {
    LogWarning("not ready for the disk",
               {{"path", options_.path}, {"reason", reason_}});
  }
  if (changed_) changed_(reason_);
}

bool DiskWatch::ready() const {
  SteadyMutex::Holder lock(&mu_);
  return ready_;
}

std::string DiskWatch::reason() const {
  SteadyMutex::Holder lock(&mu_);
  return reason_;
}

absl::Status DiskWatch::CheckRoom() const {
  SteadyMutex::Holder lock(&mu_);
  if (!no_files_.empty()) {
    return WithRetryDelay(absl::ResourceExhaustedError(absl::StrCat(
                              "the aggregator's disk is full: ", no_files_)),
                          options_.retry_delay);
  }
  if (free_ >= options_.full_bytes) return absl::OkStatus();
  return WithRetryDelay(
      absl::ResourceExhaustedError(absl::StrCat(
          "the aggregator's disk is full: ", free_, " bytes free, ",
          options_.full_bytes, " are kept in reserve")),
      options_.retry_delay);
}

}  // namespace camherd::aggregator
