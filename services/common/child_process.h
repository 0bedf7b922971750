// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "services/common/line_splitter.h"
#include "services/common/stop_signal.h"

namespace camherd {

// A child process in a process group of its own, with standard output and
// error in one pipe or those of ours. The kernel kills it when the thread that
// spawned it ends (PR_SET_PDEATHSIG), so also when the service is killed: spawn
// from a thread that outlives the child. It inherits no descriptor but those
// named here.
//
// Kill ends the whole group, forks included, and reaps; the destructor kills.
//
// Not thread-safe.
class ChildProcess {
 public:
  static constexpr int kPassedFd = 3;

  struct Options {
    // argv[0] is a path, which is not searched for, unless `program` is one.
    std::vector<std::string> argv = {};
    std::string program = {};
    // The whole environment, "KEY=value".
    std::vector<std::string> env = {};
    std::string cwd = {};
    // Becomes kPassedFd of the child; -1: none. Stays the caller's.
    int pass_fd = -1;
    // RLIMIT_DATA, bytes; 0: none.
    int64_t data_limit_bytes = 0;
    // RLIMIT_STACK, bytes, which is also what its threads get; 0: ours.
    int64_t stack_limit_bytes = 0;
    // True: it prints where we do, and output_fd() is -1.
    bool inherit_output = false;
  };

  // kInvalidArgument where argv is empty, kNotFound where argv[0] or cwd is
  // not there, kResourceExhausted where the system has no room.
  static absl::StatusOr<std::unique_ptr<ChildProcess>> Spawn(
      const Options& options);
  ~ChildProcess();

  // Readable when the child prints; non-blocking.
  int output_fd() const { return output_fd_; }
  // Readable once the child has ended.
  int exit_fd() const { return pidfd_; }
  pid_t pid() const { return pid_; }

  // Reads what is there, 1 MiB at most; false at the end of the output.
  bool ReadOutput(const LineSplitter::LineFn& line);

  bool HasExited() const;

  // Ends the group by SIGKILL and reaps the child. Returns how it ended:
  // "exit code 3", "signal 9 (Killed)"; one that had ended before keeps its own
  // end. May be called again.
  const std::string& Kill();
  // After Kill: its exit code, -1 where a signal ended it.
  int exit_code() const { return exit_code_; }

 private:
  ChildProcess() = default;

  pid_t pid_ = -1;
  int pidfd_ = -1;
  int output_fd_ = -1;
  bool reaped_ = false;
  int exit_code_ = -1;
  std::string end_;
  LineSplitter lines_;
};

// Runs a command to its end and hands out its lines. kCancelled when `stop` is
// set, kDeadlineExceeded after `timeout`, kInternal ("... ended with exit code
// 1") when it fails. `tick` is called at least every half second.
absl::Status RunCommand(const ChildProcess::Options& options,
                        absl::Duration timeout, const StopSignal& stop,
                        const LineSplitter::LineFn& line,
                        const std::function<void()>& tick = {});

// "KEY=value" of those variables of our environment that a child may see:
// path, locale, temporary folder, proxies, certificates, PIP_* and UV_*.
// Nothing else of ours, secrets least of all, goes to code of others.
std::vector<std::string> EnvironmentForChildren();

}  // namespace camherd
