// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "services/common/child_process.h"
#include "services/common/stop_signal.h"

namespace camherd::inference {

// One run_inference.py --worker: its process, and the messages to and from it
// (drawn in the .cc). Knows lengths only; what the headers say is the
// engine's. After any error the worker can only be killed.
//
// What it prints is logged and the last lines are kept for the reason.
//
// Not thread-safe; the thread that starts it must outlive it.
class VenvWorker {
 public:
  struct Options {
    // Name for the log.
    std::string model;
    ChildProcess::Options process;
  };

  // Spawns; argv gets `--worker 3`.
  static absl::StatusOr<std::unique_ptr<VenvWorker>> Start(Options options);
  ~VenvWorker();

  // Errors of both:
  //   kUnavailable        it ended; the message says how, with its last lines
  //   kDeadlineExceeded   it did not take or answer in time
  //   kDataLoss           it sent what is no message
  //   kCancelled          `stop` was set
  // `deadline` is in Clock::SteadyNow.
  absl::Status Send(absl::string_view header,
                    absl::Span<const absl::string_view> blobs,
                    absl::Duration deadline, const StopSignal& stop);
  // Returns the header of the next message; a message with blobs is kDataLoss
  // for the engine, which reads "blobs" itself.
  absl::StatusOr<std::string> Receive(absl::Duration deadline,
                                      const StopSignal& stop);

  // Waits until `wake_fd` is readable, the worker does something unasked (an
  // error, as above), or `stop` is set (kCancelled).
  absl::Status WaitIdle(int wake_fd, const StopSignal& stop);

  // Ends the process group; says how the worker ended, with its last lines.
  std::string Kill();

 private:
  VenvWorker() = default;

  // Waits for `events` on the socket; handles output meanwhile.
  absl::Status Wait(short events, int wake_fd, absl::Duration deadline,
                    const StopSignal& stop, bool* woken);
  void DrainOutput();
  absl::Status Ended();

  std::string model_;
  int socket_ = -1;
  bool output_open_ = true;
  std::unique_ptr<ChildProcess> process_;
  std::string received_;
  std::deque<std::string> last_lines_;
  int lines_logged_ = 0;
};

}  // namespace camherd::inference
