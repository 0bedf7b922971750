// SPDX-License-Identifier: Apache-2.0
#include "services/capture/spool_room.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "services/capture/spool.h"
#include "services/common/log.h"

namespace camherd::capture {
namespace {

// A step is taken back when so much of the share is free again at which it was
// taken.
constexpr double kRoomToNarrow = 0.8;
// Free bytes with which a full disk has room again, in full_disk_bytes.
constexpr double kRoomToGoOn = 1.5;

double Share(int64_t bytes, int64_t quota) {
  return static_cast<double>(bytes) /
         static_cast<double>(std::max<int64_t>(quota, 1));
}

}  // namespace

SpoolRoom::SpoolRoom(const Options& options) : options_(options) {
  LookAtDisk();
}

int SpoolRoom::Widened(int widened, int64_t stream_bytes,
                       int64_t total_bytes) const {
  const double filled = std::max(Share(stream_bytes, options_.stream_max_bytes),
                                 Share(total_bytes, options_.total_max_bytes));
  // From where on the interval is `factor` times as long.
  const auto from = [this](int factor) {
    return 1 - (1 - options_.widen_above) * 2 / factor;
  };
  if (options_.widen_above >= 1) return 1;
  widened = std::clamp(widened, 1, kMostWidened);
  while (widened < kMostWidened && filled > from(2 * widened)) widened *= 2;
  while (widened > 1 && filled <= kRoomToNarrow * from(widened)) widened /= 2;
  return widened;
}

void SpoolRoom::LookAtDisk(const absl::Status& database) {
  const absl::StatusOr<int64_t> free = options_.free_bytes
                                           ? options_.free_bytes(options_.path)
                                           : FreeBytes(options_.path);
  absl::MutexLock lock(&mu_);
  // A disk that cannot be asked is not one to be ready on; whether it can be
  // written to shows when it is.
  disk_error_ = free.status();
  database_ = database;
  free_ = free.value_or(-1);
  const double enough =
      (full_ ? kRoomToGoOn : 1) * static_cast<double>(options_.full_disk_bytes);
  full_ = free.ok() ? static_cast<double>(free_) < enough
                    : absl::IsResourceExhausted(free.status());
  const absl::Status readiness = Readiness();
  if (readiness.ok() == ready_) return;
  ready_ = readiness.ok();
  if (ready_) {
    LogInfo("disk is well again, ready",
            {{"path", options_.path}, {"free_bytes", free_}});
  } else {
    LogWarning("not ready for the disk",
               {{"path", options_.path}, {"reason", readiness.message()}});
  }
  if (on_readiness_) on_readiness_(readiness);
}

absl::Status SpoolRoom::Readiness() const {
  if (!disk_error_.ok()) {
    return absl::ResourceExhaustedError(
        absl::StrCat(absl::IsResourceExhausted(disk_error_)
                         ? "the spool's disk is full: "
                         : "the spool's disk cannot be asked: ",
                     disk_error_.message()));
  }
  if (free_ >= options_.low_disk_bytes) {
    if (database_.ok()) return absl::OkStatus();
    return absl::ResourceExhaustedError(
        absl::StrCat("capture.db cannot be written, no sample is kept: ",
                     database_.message()));
  }
  return absl::ResourceExhaustedError(absl::StrCat(
      "the spool's disk is low: ", free_, " bytes are free, below ",
      options_.low_disk_bytes, " (capture.low_disk_bytes); below ",
      options_.full_disk_bytes, " no picture is taken"));
}

bool SpoolRoom::disk_full() const {
  absl::MutexLock lock(&mu_);
  return full_;
}

int64_t SpoolRoom::disk_free_bytes() const {
  absl::MutexLock lock(&mu_);
  return free_;
}

void SpoolRoom::WatchReadiness(OnReadiness on_readiness) {
  absl::MutexLock lock(&mu_);
  on_readiness_ = std::move(on_readiness);
  if (on_readiness_) on_readiness_(Readiness());
}

}  // namespace camherd::capture
