// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace camherd::inference {

// Lets at most `limit` callers work at once; the others wait for their turn.
// Nobody is refused but by time and by Stop.
//
// Thread-safe.
class Turns {
 public:
  explicit Turns(int limit) : limit_(limit) {}

  // False: stopped, or no turn within `timeout`. True: give it back by Give.
  [[nodiscard]] bool Take(absl::Duration timeout) {
    absl::MutexLock lock(&mu_);
    ++waiting_;
    const bool ready =
        mu_.AwaitWithTimeout(absl::Condition(this, &Turns::IsFree), timeout) &&
        !stopped_;
    --waiting_;
    if (ready) ++running_;
    return ready;
  }

  void Give() {
    absl::MutexLock lock(&mu_);
    --running_;
  }

  // Ends all waiting, and waits until those who work are done.
  void Stop() {
    absl::MutexLock lock(&mu_);
    stopped_ = true;
    mu_.Await(absl::Condition(this, &Turns::IsIdle));
  }

  bool stopped() const {
    absl::MutexLock lock(&mu_);
    return stopped_;
  }
  int waiting() const {
    absl::MutexLock lock(&mu_);
    return waiting_;
  }

 private:
  bool IsFree() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    return stopped_ || running_ < limit_;
  }
  bool IsIdle() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    return running_ == 0;
  }

  const int limit_;
  mutable absl::Mutex mu_;
  int running_ ABSL_GUARDED_BY(mu_) = 0;
  int waiting_ ABSL_GUARDED_BY(mu_) = 0;
  bool stopped_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace camherd::inference
