// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "camherd/v1/worker.pb.h"
#include "services/capture/worker_child.h"
#include "services/capture/worker_link.h"
#include "services/common/clock.h"

namespace camherd::capture {

// Stream workers as processes: FFmpeg on what cameras send is the part that
// will crash, so it runs where a crash costs little.
//
// The streams are spread over `processes` processes, each with a thread here
// that starts it, talks to it, and starts it again. A process that ends, or
// does not answer, or says that a stream has kept a thread for far too long
// (it is killed then) loses its streams: each is told StreamEnded{lost}, and
// runs on where it is assigned next. The stream that it was working on is put
// in quarantine: it gets a process of its own, each time after a longer pause,
// until it has behaved for `quarantine`.
//
// What is sent to a process is queued without limit, at most an assignment per
// stream and what follows from calls; the queue ends with the process.
//
// Thread-safe. `on_event` is called on the processes' threads, for one stream
// always in order of events, and may block: that is the back-pressure. It may
// call Send.
class ProcessWorkers : public WorkerLink {
 public:
  struct Options {
    WorkerProgram worker = {};
    // > 0.
    int processes = 1;
    // A process that says nothing for so long, though asked, is killed.
    absl::Duration answer_timeout = absl::Seconds(10);
    // How long a stream that made its process end stays alone.
    absl::Duration quarantine = absl::Minutes(10);
    // Pauses before a process is started again: of a quarantined stream from
    // its second end on, of another where it ends again and again.
    absl::Duration restart_initial = absl::Seconds(1);
    absl::Duration restart_max = absl::Seconds(60);
    // At Stop: then what is left is killed.
    absl::Duration stop_timeout = absl::Seconds(5);
  };
  using EventSink = std::function<void(const v1::FromWorker&)>;

  // Starts the processes. `clock` must outlive it.
  ProcessWorkers(const Options& options, EventSink on_event, Clock& clock);
  ~ProcessWorkers() override;

  void Send(const v1::ToWorker& message) override;
  void Stop() override;
  WorkerStats stats() const override;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace camherd::capture
