// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "services/common/clock.h"

namespace camherd::testing {

// A clock that stands until the test moves it. SleepFor moves it.
//
// Thread-safe.
class FakeClock : public Clock {
 public:
  explicit FakeClock(absl::Time start = absl::FromUnixSeconds(1785578100))
      : now_(start) {}

  absl::Time Now() override {
    absl::MutexLock lock(&mu_);
    return now_;
  }
  absl::Duration SteadyNow() override {
    absl::MutexLock lock(&mu_);
    return steady_;
  }
  void SleepFor(absl::Duration duration) override { Advance(duration); }

  void Advance(absl::Duration duration) {
    absl::MutexLock lock(&mu_);
    now_ += duration;
    steady_ += duration;
  }
  // The host's clock is set; the steady clock does not notice.
  void StepWallClock(absl::Duration duration) {
    absl::MutexLock lock(&mu_);
    now_ += duration;
  }

 private:
  absl::Mutex mu_;
  absl::Time now_ ABSL_GUARDED_BY(mu_);
  absl::Duration steady_ ABSL_GUARDED_BY(mu_) = absl::ZeroDuration();
};

}  // namespace camherd::testing
