// SPDX-License-Identifier: Apache-2.0
#include "services/capture/decode_pool.h"

#include <algorithm>
#include <utility>

namespace camherd::capture {
DecodePool::DecodePool(const Options& options) : options_(options) {
  const int threads =
      options.threads > 0
          ? options.threads
          : std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  threads_.reserve(static_cast<size_t>(threads));
  for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { Run(); });
}

DecodePool::~DecodePool() { Stop(); }

bool DecodePool::TryAdd(const std::shared_ptr<Strand>& strand, Task&& task) {
  absl::MutexLock lock(&mu_);
  if (stopping_ || waiting_ >= options_.max_tasks ||
      strand->tasks.size() >= options_.max_tasks_per_stream) {
    return false;
  }
  Enqueue(strand, std::move(task));
  return true;
}

void DecodePool::Add(const std::shared_ptr<Strand>& strand, Task task) {
  {
    absl::MutexLock lock(&mu_);
    if (!stopping_) {
      Enqueue(strand, std::move(task));
      return;
    }
  }
  DecodeThread thread(options_.jpeg_quality);
  task(thread);
}

void DecodePool::Enqueue(const std::shared_ptr<Strand>& strand, Task&& task) {
  strand->tasks.push_back(std::move(task));
  ++waiting_;
  if (!strand->running && strand->tasks.size() == 1) ready_.push_back(strand);
}

void DecodePool::Drain(const std::shared_ptr<Strand>& strand) {
  absl::MutexLock lock(&mu_);
  mu_.Await(absl::Condition(
      +[](Strand* s) { return s->tasks.empty() && !s->running; },
      strand.get()));
}

void DecodePool::Stop() {
  {
    absl::MutexLock lock(&mu_);
    stopping_ = true;
  }
  for (std::thread& thread : threads_) {
    if (thread.joinable()) thread.join();
  }
}

size_t DecodePool::waiting() const {
  absl::MutexLock lock(&mu_);
  return waiting_;
}

void DecodePool::Run() {
  DecodeThread thread(options_.jpeg_quality);
  mu_.Lock();
  while (true) {
    const auto has_work = [this] {
      mu_.AssertReaderHeld();
      return !ready_.empty() || (stopping_ && waiting_ == 0);
    };
    mu_.Await(absl::Condition(&has_work));
    if (ready_.empty()) break;
    const std::shared_ptr<Strand> strand = std::move(ready_.front());
    ready_.pop_front();
    Task task = std::move(strand->tasks.front());
    strand->tasks.pop_front();
    --waiting_;
    strand->running = true;
    mu_.Unlock();
    task(thread);
    // Its access units are freed before the next is waited for.
    task = nullptr;
    mu_.Lock();
    strand->running = false;
    if (!strand->tasks.empty()) ready_.push_back(strand);
  }
  mu_.Unlock();
}

}  // namespace camherd::capture
