// SPDX-License-Identifier: Apache-2.0
#include "services/common/shutdown_signal.h"

#include <signal.h>

#include "services/common/log.h"

namespace camherd {
namespace {

sigset_t StopSignals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  // A shell starts what runs in the background with SIGINT ignored: Ctrl-C is
  // for the script then, which ends us by SIGTERM when it is our turn. Blocked,
  // the signal would reach sigwait all the same.
  struct sigaction interrupt = {};
  sigaction(SIGINT, nullptr, &interrupt);
  if (interrupt.sa_handler != SIG_IGN) sigaddset(&set, SIGINT);
  return set;
}

}  // namespace

void ShutdownSignal::Block() {
  const sigset_t stop = StopSignals();
  pthread_sigmask(SIG_BLOCK, &stop, nullptr);
}

void ShutdownSignal::Wait() {
  const sigset_t stop = StopSignals();
  int number = 0;
  while (sigwait(&stop, &number) != 0) {
  }
  LogInfo("stopping", {{"signal", number == SIGINT ? "SIGINT" : "SIGTERM"}});
}

}  // namespace camherd
