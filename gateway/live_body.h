// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace camherd::gateway {

// The body of an answer that goes on for as long as its reader stays, such as a
// page that listens to events. It is asked when the reader has taken all that
// it had, so it has no queue and a reader costs no thread: whoever makes it
// calls Wake where there may be more, and what a slow reader is to have then is
// decided then.
//
// The front calls Next and Idle from its own thread, one at a time; they must
// not block. Wake from any thread.
class LiveBody {
 public:
  LiveBody() = default;
  virtual ~LiveBody() = default;
  LiveBody(const LiveBody&) = delete;
  LiveBody& operator=(const LiveBody&) = delete;

  // What is to be sent now; "": nothing before the next Wake. std::nullopt: the
  // body has ended.
  virtual std::optional<std::string> Next() = 0;
  // What is to be sent when nothing has been for a while, so that a reader that
  // has gone without a word is noticed.
  virtual std::string Idle() = 0;

  void Wake() ABSL_LOCKS_EXCLUDED(mu_) {
    absl::MutexLock lock(&mu_);
    if (woken_) return;
    woken_ = true;
    if (wake_ != nullptr) wake_();
  }

  // The front's: `wake` is called, from any thread, when Next is to be asked;
  // not again before that, and never after Detach.
  void Attach(std::function<void()> wake) ABSL_LOCKS_EXCLUDED(mu_) {
    absl::MutexLock lock(&mu_);
    wake_ = std::move(wake);
  }
  void Detach() ABSL_LOCKS_EXCLUDED(mu_) { Attach(nullptr); }
  // Next, with what wakes during it not lost.
  std::optional<std::string> Ask() ABSL_LOCKS_EXCLUDED(mu_) {
    {
      absl::MutexLock lock(&mu_);
      woken_ = false;
    }
    return Next();
  }

 private:
  absl::Mutex mu_;
  std::function<void()> wake_ ABSL_GUARDED_BY(mu_);
  bool woken_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace camherd::gateway
