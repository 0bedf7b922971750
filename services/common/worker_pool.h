// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "services/common/bounded_queue.h"
#include "services/common/trace_scope.h"

namespace camherd {

// A fixed number of threads for what may block, so that a gRPC reaction or an
// epoll loop never does. Tasks run in order of arrival. At most `capacity` of
// them wait; when that many do, TryRun refuses and the caller answers
// RESOURCE_EXHAUSTED (503 over HTTP), so nobody waits for longer than the
// queue is deep.
//
// Thread-safe; Stop from one thread.
class WorkerPool {
 public:
  // REQUIRES: both > 0.
  WorkerPool(size_t threads, size_t capacity) : tasks_(capacity) {
    for (size_t i = 0; i < threads; ++i) {
      threads_.emplace_back([this] {
        while (std::optional<std::function<void()>> task = tasks_.Pop()) {
          (*task)();
        }
      });
    }
  }
  ~WorkerPool() { Stop(); }

  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  // False: `task` will not run. It runs in the caller's trace (TraceScope).
  [[nodiscard]] bool TryRun(std::function<void()> task) {
    if (const TraceContext* trace = TraceScope::Current()) {
      task = [trace = *trace, task = std::move(task)] {
        const TraceScope scope(trace);
        task();
      };
    }
    return tasks_.TryPush(std::move(task));
  }

  // Runs what waits, then joins. May be called twice.
  void Stop() {
    tasks_.Close();
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
  }

 private:
  BoundedQueue<std::function<void()>> tasks_;
  std::vector<std::thread> threads_;
};

}  // namespace camherd
