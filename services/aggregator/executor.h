// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <functional>
#include <thread>
#include <utility>
#include <vector>

#include "services/common/bounded_queue.h"

namespace camherd::aggregator {

// Threads for what may block, so that a gRPC reaction never does. At most
// `capacity` tasks wait; when that many do, TryRun refuses and the caller
// answers RESOURCE_EXHAUSTED.
//
// Thread-safe. Stop (and the destructor) run what waits, then join.
class Executor {
 public:
  Executor(size_t threads, size_t capacity) : tasks_(capacity) {
    for (size_t i = 0; i < threads; ++i) {
      threads_.emplace_back([this] {
        while (auto task = tasks_.Pop()) (*task)();
      });
    }
  }
  ~Executor() { Stop(); }

  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;

  // False: `task` will not run.
  [[nodiscard]] bool TryRun(std::function<void()> task) {
    return tasks_.TryPush(std::move(task));
  }

  void Stop() {
    tasks_.Close();
    for (std::thread& thread : threads_) {
      if (thread.joinable()) thread.join();
    }
  }

 private:
  BoundedQueue<std::function<void()>> tasks_;
  std::vector<std::thread> threads_;
};

}  // namespace camherd::aggregator
