// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

#include "absl/time/time.h"

namespace camherd::inference {

// The last kSize latencies, and how they are spread.
//
// Not thread-safe.
class LatencyWindow {
 public:
  static constexpr size_t kSize = 256;

  void Add(absl::Duration latency) {
    if (latencies_.size() < kSize) {
      latencies_.push_back(latency);
    } else {
      latencies_[next_] = latency;
    }
    next_ = (next_ + 1) % kSize;
  }

  void Clear() {
    latencies_.clear();
    next_ = 0;
  }

  // The least latency that a share of `share`, 0..1, of them does not exceed;
  // 0 where there is none.
  absl::Duration Quantile(double share) const {
    if (latencies_.empty()) return absl::ZeroDuration();
    std::vector<absl::Duration> sorted = latencies_;
    const double rank = std::ceil(share * static_cast<double>(sorted.size()));
    const auto at = sorted.begin() +
                    std::max(static_cast<ptrdiff_t>(rank) - 1, ptrdiff_t{0});
    std::nth_element(sorted.begin(), at, sorted.end());
    return *at;
  }

 private:
  std::vector<absl::Duration> latencies_;
  // Where the next one goes.
  size_t next_ = 0;
};

}  // namespace camherd::inference
