// SPDX-License-Identifier: Apache-2.0
#include "services/inference/batch_gatherer.h"

#include <algorithm>
#include <utility>

#include "services/common/clock.h"

namespace camherd::inference {
namespace {

bool GoTogether(const BatchGatherer::Job& a, const BatchGatherer::Job& b) {
  return a.input == b.input && a.every_class == b.every_class;
}

}  // namespace

BatchGatherer::BatchGatherer(int max_batch, absl::Duration max_delay, RunFn run)
    : max_batch_(max_batch),
      max_delay_(max_delay),
      run_(std::move(run)),
      thread_([this] { RunBatches(); }) {}

BatchGatherer::~BatchGatherer() { Stop(); }

void BatchGatherer::Submit(Job& job) {
  SteadyMutex::Holder lock(&mu_);
  job.submitted = Clock::Real().SteadyNow();
  if (stopped_) {
    job.status = absl::UnavailableError("the engine has stopped");
    job.state = Job::State::kDone;
    return;
  }
  job.state = Job::State::kQueued;
  queue_.push_back(&job);
}

absl::Status BatchGatherer::Finish(absl::Span<const std::unique_ptr<Job>> jobs,
                                   absl::Duration timeout) {
  const auto done = [&] {
    return std::all_of(jobs.begin(), jobs.end(), [](const auto& job) {
      return job->state == Job::State::kDone || job->state == Job::State::kNew;
    });
  };
  // Let go of after the lock: to give memory back may wait for others.
  std::vector<std::shared_ptr<void>> unused;
  SteadyMutex::Holder lock(&mu_);
  if (!mu_.AwaitFor(done, timeout)) {
    for (const std::unique_ptr<Job>& job : jobs) {
      if (job->state != Job::State::kQueued) continue;
      queue_.erase(std::find(queue_.begin(), queue_.end(), job.get()));
      unused.push_back(std::move(job->memory));
      job->status = absl::UnavailableError("no turn on the device");
      job->state = Job::State::kDone;
    }
    mu_.Await(done);
  }
  for (const std::unique_ptr<Job>& job : jobs) {
    if (!job->status.ok()) return job->status;
  }
  return absl::OkStatus();
}

int BatchGatherer::waiting() const {
  SteadyMutex::Holder lock(&mu_);
  return static_cast<int>(queue_.size());
}

void BatchGatherer::Stop() {
  {
    SteadyMutex::Holder lock(&mu_);
    stopped_ = true;
  }
  if (thread_.joinable()) thread_.join();
}

// Full, or nothing to wait for.
bool BatchGatherer::IsWorth() const {
  if (stopped_) return true;
  if (queue_.empty()) return false;
  const Job& first = *queue_.front();
  return std::count_if(queue_.begin(), queue_.end(), [&first](const Job* job) {
           return GoTogether(*job, first);
         }) >= max_batch_;
}

std::vector<BatchGatherer::Job*> BatchGatherer::Take() {
  std::vector<Job*> batch;
  std::deque<Job*> rest;
  const absl::Duration now = Clock::Real().SteadyNow();
  for (Job* const job : queue_) {
    const bool goes = static_cast<int>(batch.size()) < max_batch_ &&
                      (batch.empty() || GoTogether(*job, *batch.front()));
    if (goes) {
      job->state = Job::State::kRunning;
      job->waited = now - job->submitted;
      batch.push_back(job);
    } else {
      rest.push_back(job);
    }
  }
  queue_ = std::move(rest);
  return batch;
}

void BatchGatherer::RunBatches() {
  for (;;) {
    std::vector<Job*> batch;
    {
      SteadyMutex::Holder lock(&mu_);
      const auto has_work = [this] {
        mu_.AssertHeld();
        return stopped_ || !queue_.empty();
      };
      mu_.Await(has_work);
      if (!stopped_) {
        // What leaves the queue while this waits is looked for again.
        const absl::Duration waited =
            Clock::Real().SteadyNow() - queue_.front()->submitted;
        const auto is_worth = [this] {
          mu_.AssertHeld();
          return queue_.empty() || IsWorth();
        };
        mu_.AwaitFor(is_worth, max_delay_ - waited);
      }
      if (stopped_) {
        for (Job* const job : queue_) {
          job->status = absl::UnavailableError("the engine has stopped");
          job->state = Job::State::kDone;
        }
        queue_.clear();
        return;
      }
      batch = Take();
    }
    if (batch.empty()) continue;
    const absl::Status status = run_(batch);
    for (Job* const job : batch) job->memory.reset();
    SteadyMutex::Holder lock(&mu_);
    for (Job* const job : batch) {
      job->status = status;
      job->state = Job::State::kDone;
    }
  }
}

}  // namespace camherd::inference
