// SPDX-License-Identifier: Apache-2.0
#include "services/common/backoff.h"

#include <algorithm>
#include <cmath>

namespace camherd {

absl::Duration Backoff::Next(absl::Duration max) {
  const double factor = std::exp2(std::min(attempts_, 30));
  ++attempts_;
  const absl::Duration bound =
      std::min({max, options_.max, options_.initial * factor});
  return bound * absl::Uniform(absl::IntervalClosedClosed, random_, 0.1, 1.0);
}

}  // namespace camherd
