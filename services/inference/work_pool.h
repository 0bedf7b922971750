// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <thread>
#include <vector>

#include "services/common/bounded_queue.h"

namespace camherd::inference {

// A fixed number of threads that run tasks in order of arrival. The queue is
// bounded: when it is full, TryRun refuses and the caller answers
// kResourceExhausted.
//
// Thread-safe. Stop lets what is queued run, and joins; the destructor stops.
class WorkPool {
 public:
  using Task = std::function<void()>;

  WorkPool(int threads, size_t queue) : queue_(queue) {
    for (int i = 0; i < threads; ++i) {
      threads_.emplace_back([this] {
        while (std::optional<Task> task = queue_.Pop()) (*task)();
      });
    }
  }
  ~WorkPool() { Stop(); }

  [[nodiscard]] bool TryRun(Task task) {
    return queue_.TryPush(std::move(task));
  }

  void Stop() {
    queue_.Close();
    for (std::thread& thread : threads_) {
      if (thread.joinable()) thread.join();
    }
  }

 private:
  BoundedQueue<Task> queue_;
  std::vector<std::thread> threads_;
};

}  // namespace camherd::inference
