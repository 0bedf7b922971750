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
  sigaddset(&set, SIGINT);
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
