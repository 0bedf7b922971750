// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "services/capture/decode_thread.h"

namespace camherd::capture {

// Runs the tasks of many streams on a bounded number of threads; the tasks of
// one stream one after the other, in order.
//
// The queue is bounded: TryAdd refuses beyond `max_tasks_per_stream` waiting
// tasks of one stream or `max_tasks` in all, and the caller counts what is
// lost (reason overload).
//
// Thread-safe. Lifecycle: construct, add, Stop (or the destructor).
class DecodePool {
 public:
  struct Options {
    // 0: one per core.
    int threads = 0;
    int jpeg_quality = 85;
    size_t max_tasks_per_stream = 8;
    size_t max_tasks = 1024;
  };
  using Task = std::function<void(DecodeThread&)>;

  // The tasks of one stream; made and used only through the pool.
  class Strand {
   private:
    friend class DecodePool;
    // Guarded by the pool's mutex.
    std::deque<Task> tasks;
    bool running = false;
  };

  explicit DecodePool(const Options& options);
  ~DecodePool();

  DecodePool(const DecodePool&) = delete;
  DecodePool& operator=(const DecodePool&) = delete;

  std::shared_ptr<Strand> MakeStrand() { return std::make_shared<Strand>(); }

  // False, `task` untouched, when there is no room or the pool is stopped.
  [[nodiscard]] bool TryAdd(const std::shared_ptr<Strand>& strand, Task&& task);
  // Adds whatever the limits say: for a stream's last words. Runs the task on
  // the caller's thread if the pool is stopped.
  void Add(const std::shared_ptr<Strand>& strand, Task task);

  // Waits until all tasks of `strand` have run.
  void Drain(const std::shared_ptr<Strand>& strand);

  // Runs what waits and joins the threads.
  void Stop();

  // Tasks that wait.
  size_t waiting() const;

 private:
  // `strand` here and below is shared: the stream, its queue entry and the
  // thread at work on it all hold it.
  void Enqueue(const std::shared_ptr<Strand>& strand, Task&& task)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Run();

  const Options options_;

  mutable absl::Mutex mu_;
  // Streams with tasks of which none is at work.
  std::deque<std::shared_ptr<Strand>> ready_ ABSL_GUARDED_BY(mu_);
  size_t waiting_ ABSL_GUARDED_BY(mu_) = 0;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;

  std::vector<std::thread> threads_;
};

}  // namespace camherd::capture
