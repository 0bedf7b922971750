// SPDX-License-Identifier: Apache-2.0
#include "services/capture/send_queue.h"

#include <algorithm>

#include "services/common/retry_delay.h"

namespace camherd::capture {
namespace {

// The longest pause where others pause as long, in pauses.
constexpr double kSpread = 1.25;
// A peer that asks for less would be asked in a tight loop.
constexpr absl::Duration kLeastDelay = absl::Milliseconds(10);

}  // namespace

Verdict Judge(const absl::Status& answer) {
  switch (answer.code()) {
    case absl::StatusCode::kOk:
      return Verdict::kRecorded;
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kResourceExhausted:
      return Verdict::kRetry;
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kUnimplemented:
    case absl::StatusCode::kUnauthenticated:
    case absl::StatusCode::kPermissionDenied:
      return Verdict::kRetrySlowly;
    case absl::StatusCode::kDataLoss:
    case absl::StatusCode::kInvalidArgument:
      return Verdict::kDropModelError;
    case absl::StatusCode::kAlreadyExists:
      return Verdict::kDropConflict;
    default:
      return Verdict::kRetryBatch;
  }
}

void SendQueue::Add(const BatchKey& key, absl::Time sealed_at) {
  std::unique_ptr<Lane>& lane = lanes_[key.session_id];
  if (lane == nullptr) lane = std::make_unique<Lane>(options_.backoff);
  lane->waiting[key.batch_seq].sealed_at = sealed_at;
}

std::optional<BatchKey> SendQueue::Take(absl::Duration now) {
  const std::string* best_session = nullptr;
  Lane* best_lane = nullptr;
  int64_t best_seq = 0;
  absl::Time best_time = absl::InfinitePast();
  for (auto& [session, lane] : lanes_) {
    if (lane->in_flight.has_value() || lane->not_before > now) continue;
    for (auto it = lane->waiting.rbegin(); it != lane->waiting.rend(); ++it) {
      if (it->second.not_before > now) continue;
      if (best_lane == nullptr || it->second.sealed_at > best_time) {
        best_session = &session;
        best_lane = lane.get();
        best_seq = it->first;
        best_time = it->second.sealed_at;
      }
      break;
    }
  }
  if (best_lane == nullptr) return std::nullopt;
  best_lane->waiting.erase(best_seq);
  best_lane->in_flight = best_seq;
  best_lane->in_flight_sealed_at = best_time;
  return BatchKey{*best_session, best_seq};
}

absl::Duration SendQueue::NextAt() const {
  absl::Duration next = absl::InfiniteDuration();
  for (const auto& [session, lane] : lanes_) {
    if (lane->in_flight.has_value()) continue;
    for (const auto& [seq, entry] : lane->waiting) {
      next = std::min(next, std::max(lane->not_before, entry.not_before));
    }
  }
  return next;
}

SendQueue::Lane* SendQueue::FindInFlight(const BatchKey& key) {
  const auto it = lanes_.find(key.session_id);
  if (it == lanes_.end() || it->second->in_flight != key.batch_seq) {
    return nullptr;
  }
  return it->second.get();
}

void SendQueue::EraseIfEmpty(const std::string& session_id) {
  const auto it = lanes_.find(session_id);
  if (it != lanes_.end() && it->second->waiting.empty() &&
      !it->second->in_flight.has_value()) {
    lanes_.erase(it);
  }
}

void SendQueue::Settled(const BatchKey& key) {
  Lane* lane = FindInFlight(key);
  if (lane == nullptr) return;
  lane->in_flight.reset();
  lane->not_before = -absl::InfiniteDuration();
  lane->backoff.Reset();
  EraseIfEmpty(key.session_id);
}

absl::Duration SendQueue::Failed(const BatchKey& key, Verdict verdict,
                                 const absl::Status& answer,
                                 absl::Duration now) {
  Lane* lane = FindInFlight(key);
  if (lane == nullptr) return absl::ZeroDuration();
  absl::Duration pause;
  double spread = kSpread;
  if (const auto asked = RetryDelay(answer); asked.has_value()) {
    pause = std::clamp(*asked, kLeastDelay, options_.max_delay);
  } else if (verdict == Verdict::kRetrySlowly) {
    pause = options_.slow_retry;
  } else {
    pause = lane->backoff.Next();
    spread = 1;
  }
  pause *= absl::Uniform(absl::IntervalClosedClosed, random_, 1.0, spread);
  Entry& entry = lane->waiting[key.batch_seq];
  entry.sealed_at = lane->in_flight_sealed_at;
  if (verdict == Verdict::kRetryBatch) {
    entry.not_before = now + pause;
  } else {
    lane->not_before = now + pause;
  }
  lane->in_flight.reset();
  return pause;
}

bool SendQueue::Remove(const BatchKey& key) {
  const auto it = lanes_.find(key.session_id);
  if (it == lanes_.end() || it->second->waiting.erase(key.batch_seq) == 0) {
    return false;
  }
  EraseIfEmpty(key.session_id);
  return true;
}

void SendQueue::RemoveSession(const std::string& session_id) {
  lanes_.erase(session_id);
}

size_t SendQueue::size() const {
  size_t size = 0;
  for (const auto& [session, lane] : lanes_) {
    size += lane->waiting.size() + (lane->in_flight.has_value() ? 1 : 0);
  }
  return size;
}

}  // namespace camherd::capture
