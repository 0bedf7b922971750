// SPDX-License-Identifier: Apache-2.0
#include "services/capture/batch_sender.h"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "services/common/log.h"
#include "services/common/retry_delay.h"
#include "services/common/trace_scope.h"

namespace camherd::capture {
namespace {

// An infinite wait in chrono's terms.
constexpr absl::Duration kLongestSleep = absl::Hours(24);

}  // namespace

BatchSender::BatchSender(const Options& options, InferencePeer& peer,
                         BatchOwner& owner, SendObserver* observer,
                         Clock& clock)
    : options_(options),
      peer_(peer),
      owner_(owner),
      observer_(observer),
      clock_(clock),
      queue_(options.queue) {}

BatchSender::~BatchSender() { Stop(); }

void BatchSender::Start() {
  for (int i = 0; i < options_.concurrency; ++i) {
    threads_.emplace_back([this] { Run(); });
  }
}

void BatchSender::Stop() {
  {
    absl::MutexLock lock(&mu_);
    stopping_ = true;
  }
  Wake();
  peer_.Cancel();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

void BatchSender::Add(const BatchKey& key, absl::Time sealed_at,
                      bool fate_unknown) {
  {
    absl::MutexLock lock(&mu_);
    queue_.Add(key, sealed_at);
    if (fate_unknown) fate_unknown_.insert(key);
  }
  Wake();
}

bool BatchSender::Remove(const BatchKey& key) {
  absl::MutexLock lock(&mu_);
  // It may have become so since the caller looked.
  if (fate_unknown_.count(key) > 0) return false;
  return queue_.Remove(key);
}

void BatchSender::RemoveSession(const std::string& session_id) {
  absl::MutexLock lock(&mu_);
  queue_.RemoveSession(session_id);
  fate_unknown_.erase(fate_unknown_.lower_bound({session_id, 0}),
                      fate_unknown_.upper_bound({session_id, INT64_MAX}));
}

size_t BatchSender::pending() const {
  absl::MutexLock lock(&mu_);
  return queue_.size();
}

void BatchSender::Run() {
  while (true) {
    std::optional<BatchKey> key;
    absl::Duration wait;
    // Before the look at the queue, so that no change is slept through.
    const uint64_t seen = wakes();
    {
      absl::MutexLock lock(&mu_);
      if (stopping_) return;
      const absl::Duration now = clock_.SteadyNow();
      key = queue_.Take(now);
      if (!key) wait = queue_.NextAt() - now;
    }
    if (key) {
      Send(*key);
    } else {
      Wait(seen, wait);
    }
  }
}

void BatchSender::Wait(uint64_t seen, absl::Duration timeout) {
  timeout = std::clamp(timeout, absl::Milliseconds(1), kLongestSleep);
  std::unique_lock<std::mutex> lock(wake_mu_);
  wake_.wait_for(lock, absl::ToChronoNanoseconds(timeout),
                 [&] { return wakes_ != seen; });
}

void BatchSender::Wake() {
  {
    const std::lock_guard<std::mutex> lock(wake_mu_);
    ++wakes_;
  }
  wake_.notify_all();
}

uint64_t BatchSender::wakes() const {
  const std::lock_guard<std::mutex> lock(wake_mu_);
  return wakes_;
}

void BatchSender::Send(const BatchKey& key) {
  const TraceScope scope(TraceContext::OfBatch(key.session_id, key.batch_seq));
  bool was_unknown;
  {
    absl::MutexLock lock(&mu_);
    was_unknown = fate_unknown_.count(key) > 0;
  }
  const absl::Duration start = clock_.SteadyNow();
  BatchAnswer answer;
  bool marked = false;
  absl::StatusOr<OutgoingBatch> batch = owner_.LoadBatch(key);
  if (batch.ok()) {
    answer = peer_.InferBatch(*batch, options_.timeout, [&]() -> absl::Status {
      absl::Status status = owner_.SetFateUnknown(key, true);
      marked = status.ok();
      return status;
    });
    if (observer_ != nullptr && answer.file_error.ok()) {
      observer_->BatchAnswered(answer.status.code(),
                               clock_.SteadyNow() - start);
    }
  } else if (absl::IsNotFound(batch.status())) {
    absl::MutexLock lock(&mu_);
    queue_.Settled(key);
    fate_unknown_.erase(key);
    return;
  } else {
    answer.status = batch.status();
    if (absl::IsDataLoss(batch.status())) answer.file_error = batch.status();
  }

  const Verdict verdict = Judge(answer.status);
  LogDebug("batch answered", {{"session", key.session_id},
                              {"batch_seq", key.batch_seq},
                              {"status", answer.status}});
  absl::Status settled;
  bool leaves = true;
  if (absl::IsNotFound(answer.file_error) ||
      absl::IsDataLoss(answer.file_error)) {
    settled = owner_.BatchDropped(key, "file_lost", answer.file_error);
  } else if (absl::IsOutOfRange(answer.file_error)) {
    settled = owner_.BatchDropped(key, "model_error", answer.file_error);
  } else if (!answer.file_error.ok()) {
    leaves = false;
  } else if (verdict == Verdict::kRecorded) {
    settled = owner_.BatchRecorded(key, answer.response);
  } else if (verdict == Verdict::kDropModelError) {
    settled = owner_.BatchDropped(key, "model_error", answer.status);
  } else if (verdict == Verdict::kDropConflict) {
    LogError("batch recorded before with another digest",
             {{"session", key.session_id},
              {"batch_seq", key.batch_seq},
              {"status", answer.status}});
    settled = owner_.BatchDropped(key, "conflict", answer.status);
  } else {
    leaves = false;
  }

  if (leaves && (settled.ok() || absl::IsNotFound(settled))) {
    {
      absl::MutexLock lock(&mu_);
      queue_.Settled(key);
      fate_unknown_.erase(key);
    }
    Wake();
    return;
  }
  const absl::Status why = leaves ? settled : answer.status;
  // Never complete there, or not worked on: as before this attempt.
  const bool nothing_done = !answer.sent_whole || HadNoEffect(answer.status);
  if (marked && nothing_done && !was_unknown) {
    owner_.SetFateUnknown(key, false).IgnoreError();
    marked = false;
  }
  absl::Duration pause;
  bool stopping;
  {
    absl::MutexLock lock(&mu_);
    if (marked) fate_unknown_.insert(key);
    pause = queue_.Failed(key, leaves ? Verdict::kRetryBatch : verdict, why,
                          clock_.SteadyNow());
    stopping = stopping_;
  }
  Wake();
  if (!stopping) owner_.BatchDelayed(key, why, pause);
}

}  // namespace camherd::capture
