// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <list>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace camherd::inference {

// Lets at most `limit` callers work at once; the others wait for their turn, in
// the order in which they came: who gives a turn back and asks for the next one
// comes after all who wait. Nobody is refused but by time and by Stop.
//
// Thread-safe.
class Turns {
 public:
  explicit Turns(int limit) : limit_(limit) {}

  // False: stopped, or no turn within `timeout`. True: give it back by Give.
  [[nodiscard]] bool Take(absl::Duration timeout) {
    absl::MutexLock lock(&mu_);
    const auto place = waiting_.insert(waiting_.end(), Waiter());
    const auto is_next = [this, place]() {
      mu_.AssertReaderHeld();
      return stopped_ || (running_ < limit_ && place == waiting_.begin());
    };
    const bool ready =
        mu_.AwaitWithTimeout(absl::Condition(&is_next), timeout) && !stopped_;
    waiting_.erase(place);
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

  int waiting() const {
    absl::MutexLock lock(&mu_);
    return static_cast<int>(waiting_.size());
  }

 private:
  // A place in the queue.
  struct Waiter {};

  bool IsIdle() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    return running_ == 0;
  }

  const int limit_;
  mutable absl::Mutex mu_;
  int running_ ABSL_GUARDED_BY(mu_) = 0;
  std::list<Waiter> waiting_ ABSL_GUARDED_BY(mu_);
  bool stopped_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace camherd::inference
