// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "services/capture/peers.h"
#include "services/capture/send_queue.h"
#include "services/common/clock.h"

namespace camherd::capture {

// Who owns the batches: told of everything that becomes of them. Called from
// the sender's threads, for one session one at a time.
class BatchOwner {
 public:
  virtual ~BatchOwner() = default;

  // kNotFound: it is gone, forget it. kDataLoss: it is there but a part of it
  // is lost.
  virtual absl::StatusOr<OutgoingBatch> LoadBatch(const BatchKey& key) = 0;
  // The batch is about to be complete at the peer, or it turned out that
  // nothing was done with it.
  virtual absl::Status SetFateUnknown(const BatchKey& key, bool unknown) = 0;
  virtual absl::Status BatchRecorded(const BatchKey& key,
                                     const v1::InferBatchResponse& answer) = 0;
  // `reason` is one of Accounting.dropped.
  virtual absl::Status BatchDropped(const BatchKey& key,
                                    const std::string& reason,
                                    const absl::Status& why) = 0;
  // It waits for `pause`; `why` is for people.
  virtual void BatchDelayed(const BatchKey& key, const absl::Status& why,
                            absl::Duration pause) = 0;
};

// What the sender tells metrics.
class SendObserver {
 public:
  virtual ~SendObserver() = default;
  virtual void BatchAnswered(absl::StatusCode code, absl::Duration latency) = 0;
};

// Sends sealed batches to the inference service and settles them by its
// answers (Verdict). Which batch goes when is SendQueue's decision; frames,
// rows and counters are the owner's.
//
// A batch whose fate is unknown: once its last part has been sent, only OK or
// an answer that carries the mark of a call without effect (retry_delay.h) says
// what became of it; after anything else (a lost connection, a deadline) the
// record may exist. The flag is stored before the last part goes, so a crash
// keeps it, and it stays until the batch settles, since a later refusal says
// nothing of the earlier attempt.
//
// `concurrency` threads, each with one call in flight. Thread-safe.
class BatchSender {
 public:
  struct Options {
    int concurrency = 4;
    absl::Duration timeout = absl::Seconds(60);
    SendQueue::Options queue;
  };

  // All must outlive the sender; `observer` may be null. `Start` begins.
  BatchSender(const Options& options, InferencePeer& peer, BatchOwner& owner,
              SendObserver* observer, Clock& clock);
  ~BatchSender();

  void Start();
  // Cancels what is in flight and joins. May be called twice.
  void Stop();

  void Add(const BatchKey& key, absl::Time sealed_at, bool fate_unknown);
  // Takes a waiting batch out, for it to be dropped. False: it must not be,
  // since it is in flight or its fate is unknown, or it is not here.
  bool Remove(const BatchKey& key);
  void RemoveSession(const std::string& session_id);
  size_t pending() const;

 private:
  void Run();
  // Waits until Wake has been called after `seen` was read, at most `timeout`.
  void Wait(uint64_t seen, absl::Duration timeout);
  void Wake();
  uint64_t wakes() const;
  void Send(const BatchKey& key);

  const Options options_;
  InferencePeer& peer_;
  BatchOwner& owner_;
  SendObserver* const observer_;
  Clock& clock_;

  mutable absl::Mutex mu_;
  SendQueue queue_ ABSL_GUARDED_BY(mu_);
  std::set<BatchKey> fate_unknown_ ABSL_GUARDED_BY(mu_);
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;

  // Wakes Wait. Not an absl::CondVar: its timeouts go by the wall clock, so a
  // host whose clock is set back would sleep through its retries.
  mutable std::mutex wake_mu_;
  std::condition_variable wake_;
  uint64_t wakes_ = 0;  // Guarded by wake_mu_.

  // Touched by Start and Stop only.
  std::vector<std::thread> threads_;
};

}  // namespace camherd::capture
