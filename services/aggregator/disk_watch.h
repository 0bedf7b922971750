// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "services/aggregator/aggregator_metrics.h"
#include "services/common/steady_mutex.h"

namespace camherd::aggregator {

// Watches the disk where the data folder lies: its free space, and whether it
// still takes a file (it may have become read-only, or be out of inodes). Below
// `low_bytes`, or while no file can be written, the service is not ready,
// though it goes on; below `full_bytes`, or without inodes, it takes no more,
// so that the store always has room to end what it began.
//
// Thread-safe; Start and Stop from one thread. The destructor stops.
class DiskWatch {
 public:
  struct Options {
    std::string path = {};
    // Written and removed each time; empty: none is.
    std::string probe_file = {};
    int64_t low_bytes = int64_t{512} << 20;
    int64_t full_bytes = int64_t{64} << 20;
    absl::Duration poll_interval = absl::Seconds(5);
    // Told beside the free bytes, such as what could make room.
    std::string advice = {};
    // Delay sent with a refusal.
    absl::Duration retry_delay = absl::Seconds(5);
    // Seam for tests: free bytes at `path`; kResourceExhausted: no file can be
    // made there.
    std::function<absl::StatusOr<int64_t>(const std::string& path)> free_bytes =
        nullptr;
  };

  // `metrics` must outlive the watch.
  DiskWatch(const Options& options, AggregatorMetrics& metrics);
  ~DiskWatch();

  // Begins to look every `poll_interval`; `changed` is told reason() at once
  // and whenever ready() changes.
  void Start(std::function<void(const std::string& reason)> changed);

  // Ends the looking; `changed` is not called again. May be called twice.
  void Stop();

  // Looks now.
  void Poll();

  bool ready() const;
  // Why it is not; empty: it is.
  std::string reason() const;

  // OK, or kResourceExhausted with a retry delay when the disk is full.
  absl::Status CheckRoom() const;

 private:
  const Options options_;
  AggregatorMetrics& metrics_;

  mutable SteadyMutex mu_;
  int64_t free_ ABSL_GUARDED_BY(mu_) = INT64_MAX;
  std::string no_files_ ABSL_GUARDED_BY(mu_);  // Why no file can be made.
  bool ready_ ABSL_GUARDED_BY(mu_) = true;
  std::string reason_ ABSL_GUARDED_BY(mu_);
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::function<void(const std::string&)> changed_ ABSL_GUARDED_BY(mu_);

  std::thread thread_;
};

}  // namespace camherd::aggregator
