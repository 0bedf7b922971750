// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "camherd/v1/worker.pb.h"
#include "services/capture/connect_queue.h"
#include "services/common/clock.h"

namespace camherd::capture {

// The one gate that all connects to cameras go through, whatever worker makes
// them: a ConnectQueue with a thread that tells its news. Workers ask by
// ConnectWanted; the news are what they, and people, are to be told.
//
// Lifecycle: construct (the thread starts), OnEvent ..., Stop. Thread-safe.
// `on_news` is called from the gate's thread, one piece of news at a time and
// for each stream in order; it may call back.
class ConnectGate {
 public:
  using OnNews = std::function<void(const ConnectQueue::News& news)>;

  // `clock` must outlive the gate.
  ConnectGate(const ConnectQueue::Options& options, OnNews on_news,
              Clock& clock);
  ~ConnectGate();

  ConnectGate(const ConnectGate&) = delete;
  ConnectGate& operator=(const ConnectGate&) = delete;

  // Takes what concerns it of a worker's events (ConnectWanted,
  // ConnectionClosed, StreamEnded); the others are ignored. Returns at once.
  void OnEvent(const v1::FromWorker& event);
  // The stream was told to end: it gets no connect any more. A session that it
  // has lasts until its worker says that it is over.
  void OnRevoked(absl::string_view stream_id);

  // No news after that. May be called twice.
  void Stop();

  // Streams that wait to connect.
  size_t waiting() const;

 private:
  void Run();
  void Wake();

  const OnNews on_news_;
  Clock& clock_;

  mutable absl::Mutex mu_;
  ConnectQueue queue_ ABSL_GUARDED_BY(mu_);

  // Wakes the thread. Not an absl::Mutex: its timeouts go by the wall clock,
  // so a host whose clock is set back would let nobody connect for as long.
  std::mutex wake_mu_;
  std::condition_variable wake_;
  bool woken_ = false;    // Guarded by wake_mu_.
  bool stopped_ = false;  // Guarded by wake_mu_.

  std::thread thread_;
};

}  // namespace camherd::capture
