// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <set>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/time/time.h"
#include "services/common/steady_mutex.h"

namespace camherd::inference {

// Lets at most `limit` pictures be worked on at once; the others wait for their
// turn. Calls go in the order in which they came, but a small one overtakes a
// large one that came up to as many turns before it as the large one has more
// pictures: a batch is done as early as it can be, one picture need not wait
// for it, and no flood of single pictures holds a batch up for long. Nobody is
// refused but by time and by Stop.
//
// Thread-safe.
class Turns {
 public:
  explicit Turns(int limit) : limit_(limit) {}

  // Calls `look(i)` once for each i of [0, count), each with a turn, on this
  // thread and on others beside it. `waited`, if given: until the first had its
  // turn. False: stopped, or one had no turn within `timeout`; some were not
  // called then.
  [[nodiscard]] bool ForEach(int count, absl::Duration timeout,
                             absl::FunctionRef<void(int)> look,
                             absl::Duration* waited = nullptr);

  // A turn for a call of one picture. False: stopped, or no turn within
  // `timeout`. True: give it back by Give.
  [[nodiscard]] bool Take(absl::Duration timeout);

  void Give() {
    SteadyMutex::Holder lock(&mu_);
    --running_;
  }

  // Ends all waiting, and waits until those who work are done.
  void Stop() {
    SteadyMutex::Holder lock(&mu_);
    stopped_ = true;
    mu_.Await([this] {
      mu_.AssertHeld();
      return running_ == 0;
    });
  }

  int waiting() const {
    SteadyMutex::Holder lock(&mu_);
    return static_cast<int>(waiting_.size());
  }

 private:
  // Turns given when a call came, and the pictures it has; then the number of
  // the call. The least goes first.
  using Place = std::pair<int64_t, int64_t>;

  Place PlaceFor(int pictures);
  // Gives back the turn that the caller has, before.
  bool TakeAt(Place place, absl::Duration timeout, bool has_turn);

  const int limit_;
  mutable SteadyMutex mu_;
  int running_ ABSL_GUARDED_BY(mu_) = 0;
  int64_t given_ ABSL_GUARDED_BY(mu_) = 0;
  int64_t calls_ ABSL_GUARDED_BY(mu_) = 0;
  // Several of a call that has several pictures.
  std::multiset<Place> waiting_ ABSL_GUARDED_BY(mu_);
  bool stopped_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace camherd::inference
