// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"

namespace camherd {

// A mutex to wait under: as absl::Mutex, but its timeouts go by the steady
// clock. Those of Debian's Abseil go by the wall clock, so that on a host whose
// clock is set back by an hour a wait of a second would last an hour.
//
// A condition is a callable that reads what the mutex guards. Whoever gives the
// mutex back asks those of all who wait, and wakes whose holds.
//
// Thread-safe.
class ABSL_LOCKABLE SteadyMutex {
 public:
  SteadyMutex() = default;
  SteadyMutex(const SteadyMutex&) = delete;
  SteadyMutex& operator=(const SteadyMutex&) = delete;

  void Lock() ABSL_EXCLUSIVE_LOCK_FUNCTION() { mu_.lock(); }
  void Unlock() ABSL_UNLOCK_FUNCTION() {
    WakeReady();
    mu_.unlock();
  }
  // Tells the compiler, where it cannot see it, that this is held.
  void AssertHeld() const ABSL_ASSERT_EXCLUSIVE_LOCK() {}

  // Gives it back, waits until `condition` holds, and has it again.
  template <typename Condition>
  void Await(const Condition& condition) ABSL_EXCLUSIVE_LOCKS_REQUIRED(this) {
    AwaitFor(condition, absl::InfiniteDuration());
  }

  // As Await, but for `timeout` at most. Returns whether `condition` holds.
  template <typename Condition>
  bool AwaitFor(const Condition& condition, absl::Duration timeout)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(this) ABSL_NO_THREAD_SAFETY_ANALYSIS {
    // What the clock can count to: an infinite one is not more.
    constexpr absl::Duration kLongest = absl::Hours(24 * 365);
    WakeReady();
    Waiter waiter{[&condition] { return bool(condition()); }, {}};
    waiters_.push_back(&waiter);
    std::unique_lock<std::mutex> lock(mu_, std::adopt_lock);
    const bool holds = waiter.wake.wait_for(
        lock, absl::ToChronoNanoseconds(std::min(timeout, kLongest)),
        waiter.holds);
    lock.release();
    waiters_.erase(std::find(waiters_.begin(), waiters_.end(), &waiter));
    return holds;
  }

  // Holds it as long as this lives.
  class ABSL_SCOPED_LOCKABLE Holder {
   public:
    explicit Holder(SteadyMutex* mu) ABSL_EXCLUSIVE_LOCK_FUNCTION(mu)
        : mu_(*mu) {
      mu_.Lock();
    }
    ~Holder() ABSL_UNLOCK_FUNCTION() { mu_.Unlock(); }
    Holder(const Holder&) = delete;
    Holder& operator=(const Holder&) = delete;

   private:
    SteadyMutex& mu_;
  };

 private:
  struct Waiter {
    std::function<bool()> holds;
    std::condition_variable wake;
  };

  // REQUIRES: it is held.
  void WakeReady() {
    for (Waiter* const waiter : waiters_) {
      if (waiter->holds()) waiter->wake.notify_one();
    }
  }

  std::mutex mu_;
  std::vector<Waiter*> waiters_;  // Guarded by mu_.
};

}  // namespace camherd
