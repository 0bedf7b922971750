// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "services/common/retry_delay.h"

namespace camherd::gateway {

// How many hold an answer of one kind open, and that they are not too many.
//
// Thread-safe.
class LiveCount {
 public:
  // Held by who was let in.
  using Place = std::shared_ptr<void>;

  // `what` in words, for who is refused. `on_change` is told the number, from
  // any thread and under a lock; may be null.
  LiveCount(size_t most, const char* what,
            std::function<void(size_t)> on_change)
      : most_(most), what_(what), on_change_(std::move(on_change)) {}

  // kUnavailable with a retry delay: there are as many as may be.
  absl::StatusOr<Place> Enter() ABSL_LOCKS_EXCLUDED(mu_) {
    absl::MutexLock lock(&mu_);
    if (count_ >= most_) {
      return WithRetryDelay(
          absl::UnavailableError(
              absl::StrCat(count_, " ", what_, " already; try again later")),
          absl::Seconds(10));
    }
    Set(count_ + 1);
    return Place(this, [](LiveCount* self) {
      absl::MutexLock leaving(&self->mu_);
      self->Set(self->count_ - 1);
    });
  }

 private:
  void Set(size_t count) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    count_ = count;
    if (on_change_ != nullptr) on_change_(count);
  }

  const size_t most_;
  const char* const what_;
  const std::function<void(size_t)> on_change_;
  absl::Mutex mu_;
  size_t count_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace camherd::gateway
