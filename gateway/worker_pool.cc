// SPDX-License-Identifier: Apache-2.0
#include "gateway/worker_pool.h"

#include <optional>

namespace camherd::gateway {

WorkerPool::WorkerPool(size_t threads, size_t queue) : queue_(queue) {
  for (size_t i = 0; i < threads; ++i) {
    threads_.emplace_back([this] {
      while (std::optional<std::function<void()>> task = queue_.Pop()) {
        (*task)();
      }
    });
  }
}

void WorkerPool::Stop() {
  queue_.Close();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

}  // namespace camherd::gateway
