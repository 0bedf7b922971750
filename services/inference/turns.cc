// SPDX-License-Identifier: Apache-2.0
#include "services/inference/turns.h"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#include "services/common/clock.h"

namespace camherd::inference {

bool Turns::ForEach(int count, absl::Duration timeout,
                    absl::FunctionRef<void(int)> look, absl::Duration* waited) {
  const absl::Duration came = Clock::Real().SteadyNow();
  const Place place = PlaceFor(count);
  std::atomic<int> next = 0;
  std::atomic<bool> refused = false;
  std::once_flag first;
  const auto work = [&] {
    bool has_turn = false;
    for (int i = next++; i < count && !refused; i = next++) {
      has_turn = TakeAt(place, timeout, has_turn);
      if (!has_turn) {
        refused = true;
        return;
      }
      std::call_once(first, [&] {
        if (waited != nullptr) *waited = Clock::Real().SteadyNow() - came;
      });
      look(i);
    }
    if (has_turn) Give();
  };
  std::vector<std::thread> others;
  try {
    for (int k = 1; k < std::min(limit_, count); ++k) others.emplace_back(work);
  } catch (const std::system_error&) {
    // The machine has no more threads: those there are do it.
  }
  work();
  for (std::thread& thread : others) thread.join();
  return !refused;
}

bool Turns::Take(absl::Duration timeout) {
  return TakeAt(PlaceFor(1), timeout, /*has_turn=*/false);
}

Turns::Place Turns::PlaceFor(int pictures) {
  SteadyMutex::Holder lock(&mu_);
  return {given_ + pictures, ++calls_};
}

bool Turns::TakeAt(Place place, absl::Duration timeout, bool has_turn) {
  SteadyMutex::Holder lock(&mu_);
  // One that was given back would go to whoever waits, first in line or not.
  if (has_turn) --running_;
  const auto waiter = waiting_.insert(place);
  const auto is_next = [this, waiter]() {
    mu_.AssertHeld();
    return stopped_ || (running_ < limit_ && waiter == waiting_.begin());
  };
  const bool ready = mu_.AwaitFor(is_next, timeout) && !stopped_;
  waiting_.erase(waiter);
  if (ready) {
    ++running_;
    ++given_;
  }
  return ready;
}

}  // namespace camherd::inference
