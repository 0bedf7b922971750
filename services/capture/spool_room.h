// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"

namespace camherd::capture {

// How much room the spool has, and what follows from it before frames must be
// dropped: streams sample less often as a quota fills, the service is not ready
// while its disk is low or capture.db cannot be written, and takes no picture
// while it is full. What is dropped is the supervisor's decision.
//
// Thread-safe.
class SpoolRoom {
 public:
  struct Options {
    // On the spool's file system; exists.
    std::string path;
    // Quotas of one stream and of all, bytes.
    int64_t stream_max_bytes = int64_t{1} << 30;
    int64_t total_max_bytes = int64_t{16} << 30;
    // Share of a quota, [0, 1], past which intervals are widened; 1: never.
    double widen_above = 0.5;
    // Free bytes below which the service is not ready, and below which no
    // picture is taken.
    int64_t low_disk_bytes = int64_t{512} << 20;
    int64_t full_disk_bytes = int64_t{128} << 20;
    // Seam for tests: free bytes at `path`; kResourceExhausted: no more files
    // can be made there.
    std::function<absl::StatusOr<int64_t>(const std::string& path)> free_bytes =
        nullptr;
  };
  // OK: ready; else kResourceExhausted that says why not.
  using OnReadiness = std::function<void(const absl::Status& ready)>;

  // Interval of a stream that is widened as far as it goes, in intervals asked
  // for.
  static constexpr int kMostWidened = 16;

  // Looks at the disk.
  explicit SpoolRoom(const Options& options);

  // By how much the interval of a stream is to be multiplied that is `widened`
  // so far (1: not at all) and has `stream_bytes` in the spool: it doubles
  // whenever half of the room left is used, from `widen_above` on, so that each
  // step lasts as long as the one before. A step is taken back when the spool
  // has drained well below where it was taken, so that none swings.
  int Widened(int widened, int64_t stream_bytes, int64_t total_bytes) const;

  // Looks at the free space again; called every second or so, with what came of
  // writing capture.db.
  void LookAtDisk(const absl::Status& database = absl::OkStatus());
  // Nothing more is to be written: until one and a half times full_disk_bytes
  // are free.
  bool disk_full() const;
  // At the last look; -1: it cannot be asked.
  int64_t disk_free_bytes() const;

  // Tells `on_readiness` at once, and whenever it changes; null: no more, and
  // none is under way when this returns.
  void WatchReadiness(OnReadiness on_readiness);

 private:
  absl::Status Readiness() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const Options options_;

  mutable absl::Mutex mu_;
  absl::Status disk_error_ ABSL_GUARDED_BY(mu_);
  absl::Status database_ ABSL_GUARDED_BY(mu_);
  int64_t free_ ABSL_GUARDED_BY(mu_) = 0;
  bool full_ ABSL_GUARDED_BY(mu_) = false;
  bool ready_ ABSL_GUARDED_BY(mu_) = true;
  OnReadiness on_readiness_ ABSL_GUARDED_BY(mu_);
};

}  // namespace camherd::capture
