// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "services/common/stop_signal.h"

namespace camherd::inference {

// Downloads files of weights over HTTPS and keeps only what has the SHA-256
// that was asked for: written to `<path>.part`, checked, fsynced, renamed.
//
// Thread-safe.
class WeightsFetcher {
 public:
  struct Options {
    int64_t max_bytes = int64_t{1} << 30;
    // For the whole download.
    absl::Duration timeout = absl::Minutes(10);
    absl::Duration connect_timeout = absl::Seconds(10);
    // Plain HTTP, for tests only.
    bool allow_http = false;
  };

  // Bytes there, bytes in all (0: not known).
  using ProgressFn = std::function<void(int64_t, int64_t)>;

  explicit WeightsFetcher(const Options& options) : options_(options) {}

  // REQUIRES: `sha256` is 64 lower-case hexadecimal digits.
  //   kUnavailable       the server cannot be reached or answers an error
  //   kDeadlineExceeded  the time is over
  //   kOutOfRange        longer than max_bytes
  //   kDataLoss          another SHA-256 than asked for
  //   kCancelled         `stop` was set
  // and those of files. Nothing stays on disk but a file that is right.
  absl::Status Fetch(const std::string& url, const std::string& sha256,
                     const std::string& path, const ProgressFn& progress,
                     const StopSignal& stop) const;

 private:
  const Options options_;
};

}  // namespace camherd::inference
