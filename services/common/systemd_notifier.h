// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "services/common/steady_mutex.h"

namespace camherd {

// Tells systemd how the service fares (sd_notify(3)): that it serves, whether
// it is ready, that it stops, and, as often as the unit's WatchdogSec wants it,
// that it is alive. Where systemd did not start the service, or asks for
// nothing, it does nothing.
//
// The watchdog is fed by a thread of its own that first goes through the loops
// that do the service's work. Where one of them is stuck the thread does not
// come back, or comes back with an error, and systemd ends the service and
// starts it anew.
//
// Lifecycle: made when the service serves, then Stop before what `alive` uses
// goes; the destructor stops. SetReady from any thread.
class SystemdNotifier {
 public:
  // Goes through the loops and comes back. Not OK: one of them does not turn,
  // with its name. What is about a peer, a disk or a camera is no error here: a
  // new start would not help.
  using Alive = std::function<absl::Status()>;

  explicit SystemdNotifier(Alive alive);
  ~SystemdNotifier();

  // For `systemctl status`: whether the service is ready, or why not.
  void SetReady(const absl::Status& ready);

  // Says that the service stops. Waits for `alive` to come back. May be called
  // twice.
  void Stop();

 private:
  void Feed();

  const Alive alive_;
  // Zero: no watchdog.
  absl::Duration interval_;
  SteadyMutex mu_;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::thread thread_;
};

}  // namespace camherd
