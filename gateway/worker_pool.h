// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <functional>
#include <thread>
#include <vector>

#include "services/common/bounded_queue.h"

namespace camherd::gateway {

// A fixed number of threads that run tasks from a bounded queue. Full, it
// refuses: the front then answers 503, so nothing waits for longer than the
// queue is deep.
//
// Thread-safe; Stop from one thread.
class WorkerPool {
 public:
  // REQUIRES: both > 0.
  WorkerPool(size_t threads, size_t queue);
  ~WorkerPool() { Stop(); }

  [[nodiscard]] bool TryRun(std::function<void()> task) {
    return queue_.TryPush(std::move(task));
  }

  // Runs what is queued, then joins. May be called twice.
  void Stop();

 private:
  BoundedQueue<std::function<void()>> queue_;
  std::vector<std::thread> threads_;
};

}  // namespace camherd::gateway
