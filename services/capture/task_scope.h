// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "absl/time/time.h"
#include "services/common/clock.h"

namespace camherd::capture {

// While it lives, this thread works for one stream, for at most `limit`: so
// that a worker process that crashes or hangs can say which stream did it.
//
// Made and destroyed on the same thread; may be nested, the inner one counts.
// The rest is thread-safe.
class TaskScope {
 public:
  // Names a stream. Outlives its scopes.
  class Tag {
   public:
    explicit Tag(const std::string& stream_id);
    const std::string& stream_id() const { return stream_id_; }

   private:
    friend class TaskScope;
    const std::string stream_id_;
    // The message that a signal handler sends, ready.
    const std::string crash_message_;
  };

  TaskScope(const Tag& tag, absl::Duration limit, Clock& clock);
  ~TaskScope();
  TaskScope(const TaskScope&) = delete;
  TaskScope& operator=(const TaskScope&) = delete;

  // Streams whose task has run for longer than its limit.
  static std::vector<std::string> Overdue(Clock& clock);

  // While it lives, this thread waits for something that is not its stream's
  // fault, and the time does not count.
  class Pause {
   public:
    explicit Pause(Clock& clock);
    ~Pause();
    Pause(const Pause&) = delete;
    Pause& operator=(const Pause&) = delete;

   private:
    Clock& clock_;
    const absl::Duration since_;
  };

  // From now on a fatal signal (SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT) first
  // sends WorkerCrashed for the scope of the thread that it hits, then ends the
  // process as ever. `socket`: SOCK_SEQPACKET to the supervisor.
  static void ReportCrashes(int socket);

 private:
  static void OnFatalSignal(int signal);

  const Tag& tag_;
  TaskScope* const outer_;
  // Steady clock. Guarded by the registry's mutex.
  absl::Duration deadline_;
  absl::Duration left_when_paused_;
};

}  // namespace camherd::capture
