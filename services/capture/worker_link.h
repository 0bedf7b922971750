// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "camherd/v1/worker.pb.h"

namespace camherd::capture {

struct WorkerStats {
  // Processes that run.
  int64_t processes = 0;
  // Streams in quarantine.
  int64_t quarantined = 0;
  // Processes that ended unasked: "crashed" at work on a stream, "hung",
  // "killed" (by a signal from outside, or by the system for want of memory),
  // "exited", "not_started".
  std::map<std::string, int64_t> lost = {};
  // CPU time of all processes there ever were, and what those that run have
  // allocated (ProcessUsage).
  double cpu_seconds = 0;
  int64_t memory_bytes = 0;
};

// The way to the workers that run the streams. Their events go to
// StreamSupervisor::OnEvent.
class WorkerLink {
 public:
  virtual ~WorkerLink() = default;
  // Returns at once. From any thread, also from within an event.
  virtual void Send(const v1::ToWorker& message) = 0;
  // Ends every stream; each one's StreamEnded has been told on return.
  virtual void Stop() = 0;
  virtual WorkerStats stats() const = 0;
};

}  // namespace camherd::capture
