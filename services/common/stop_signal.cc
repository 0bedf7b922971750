// SPDX-License-Identifier: Apache-2.0
#include "services/common/stop_signal.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cstdint>

#include "services/common/log.h"

namespace camherd {

StopSignal::StopSignal() : fd_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (fd_ < 0) LogFatal("eventfd failed");
}

StopSignal::~StopSignal() { close(fd_); }

void StopSignal::Set() {
  const uint64_t one = 1;
  // It can fail only when the counter is full, and then it is set.
  [[maybe_unused]] const ssize_t written = write(fd_, &one, sizeof(one));
}

bool StopSignal::IsSet() const {
  pollfd entry = {fd_, POLLIN, 0};
  return poll(&entry, 1, 0) > 0;
}

}  // namespace camherd
