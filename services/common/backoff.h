// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "absl/random/random.h"
#include "absl/time/time.h"

namespace camherd {

// Exponential backoff with full jitter: the n-th pause is uniform in
// (0, min(max, initial * 2^n)].
// Source: M. Brooker, "Exponential Backoff And Jitter", 2015.
//
// Not thread-safe.
class Backoff {
 public:
  struct Options {
    absl::Duration initial = absl::Seconds(1);
    absl::Duration max = absl::Seconds(60);
  };

  explicit Backoff(const Options& options) : options_(options) {}

  // The next pause; at least 1/10 of its bound, so that a failing peer is
  // never asked in a tight loop.
  absl::Duration Next() { return Next(options_.max); }

  // The same with `max` this time, where it is less than that of the options.
  absl::Duration Next(absl::Duration max);

  // Called after the peer has been healthy.
  void Reset() { attempts_ = 0; }

  int attempts() const { return attempts_; }

 private:
  const Options options_;
  int attempts_ = 0;
  absl::BitGen random_;
};

}  // namespace camherd
