// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>

#include "absl/random/random.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "services/capture/stream_store.h"
#include "services/common/backoff.h"

namespace camherd::capture {

// What an answer of InferBatch means for its batch (DESIGN section 4).
enum class Verdict {
  kRecorded,
  // The peer cannot take batches of this stream now.
  kRetry,
  // As kRetry, but nothing gets better soon: all models FAILED, or the peer
  // refuses us.
  kRetrySlowly,
  // This batch had bad luck (deadline, internal error); others may go.
  kRetryBatch,
  // The batch cannot be used: dropped for "model_error" and "conflict".
  kDropModelError,
  kDropConflict,
};

Verdict Judge(const absl::Status& answer);

// Says which sealed batch is sent next, and when.
//
// Newest sealed first over all streams, so backlog goes when nothing newer
// waits; one in flight per session. After a failure the session (or, for
// kRetryBatch, the batch alone) pauses for the delay the peer asked for and up
// to a quarter more, so that those who were refused together do not come back
// together; else for a jittered backoff that starts anew with the next success.
//
// Bounded by the spool quotas: it holds a name per sealed batch.
//
// Not thread-safe; guarded by the sender. Times are of the steady clock.
class SendQueue {
 public:
  struct Options {
    Backoff::Options backoff;
    // Pause after kRetrySlowly without a delay of the peer's, and up to a
    // quarter more.
    absl::Duration slow_retry = absl::Seconds(60);
    // A peer's delay is cut to this.
    absl::Duration max_delay = absl::Minutes(10);
  };

  explicit SendQueue(const Options& options) : options_(options) {}

  void Add(const BatchKey& key, absl::Time sealed_at);

  // The batch to send now, marked as in flight.
  std::optional<BatchKey> Take(absl::Duration now);

  // When Take may have something, as far as time goes; InfiniteDuration:
  // never by itself.
  absl::Duration NextAt() const;

  // A batch in flight is settled and leaves.
  void Settled(const BatchKey& key);

  // A batch in flight waits again. Returns the pause.
  absl::Duration Failed(const BatchKey& key, Verdict verdict,
                        const absl::Status& answer, absl::Duration now);

  // Takes a waiting batch out. False: it is in flight or not here.
  bool Remove(const BatchKey& key);

  // Takes a session out, with what it has in flight.
  void RemoveSession(const std::string& session_id);

  size_t size() const;

 private:
  struct Entry {
    absl::Time sealed_at;
    absl::Duration not_before = -absl::InfiniteDuration();
  };
  // One session. Its batches by number.
  struct Lane {
    explicit Lane(const Backoff::Options& options) : backoff(options) {}
    std::map<int64_t, Entry> waiting;
    std::optional<int64_t> in_flight;
    absl::Time in_flight_sealed_at;
    absl::Duration not_before = -absl::InfiniteDuration();
    Backoff backoff;
  };

  Lane* FindInFlight(const BatchKey& key);
  void EraseIfEmpty(const std::string& session_id);

  const Options options_;
  absl::BitGen random_;
  std::map<std::string, std::unique_ptr<Lane>> lanes_;
};

}  // namespace camherd::capture
