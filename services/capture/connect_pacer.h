// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <map>
#include <string>

#include "absl/time/time.h"

namespace camherd::capture {

// Spreads the connects of a restarted service: so many a second in total, and
// fewer to one host, since many cameras may sit behind one recorder.
//
// Not thread-safe.
class ConnectPacer {
 public:
  // Both in connects per second, > 0.
  ConnectPacer(double total, double per_host)
      : total_gap_(absl::Seconds(1 / total)),
        host_gap_(absl::Seconds(1 / per_host)) {}

  // How long the next connect to `host` waits, from the start of the burst.
  absl::Duration Next(const std::string& host) {
    absl::Duration& host_next = next_of_host_[host];
    const absl::Duration delay = std::max(next_, host_next);
    next_ += total_gap_;
    host_next = delay + host_gap_;
    return delay;
  }

 private:
  const absl::Duration total_gap_;
  const absl::Duration host_gap_;
  absl::Duration next_ = absl::ZeroDuration();
  std::map<std::string, absl::Duration> next_of_host_;
};

}  // namespace camherd::capture
