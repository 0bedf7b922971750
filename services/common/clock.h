// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "absl/time/time.h"

namespace camherd {

// Where time comes from, so that tests can bring their own. Nothing else in
// the tree asks the system for the time or sleeps.
//
// Thread-safe.
class Clock {
 public:
  virtual ~Clock() = default;

  // Wall clock: may jump. For records and people.
  virtual absl::Time Now() = 0;

  // Steady clock since an arbitrary origin: never goes back. For schedules,
  // deadlines and ages.
  virtual absl::Duration SteadyNow() = 0;

  // Blocks the caller. Loops that must stop early wait on a condition instead.
  virtual void SleepFor(absl::Duration duration) = 0;

  // The system's clock; lives as long as the process.
  static Clock& Real();
};

}  // namespace camherd
