// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "camherd/v1/worker.pb.h"
#include "services/common/child_process.h"

namespace camherd::capture {

// The program that runs RunWorkerProcess on descriptor 3.
struct WorkerProgram {
  // Its file (empty: argv[0]) and arguments.
  std::string file = {};
  std::vector<std::string> argv = {};
  // What the process may allocate, bytes; 0: no limit. An allocation beyond it
  // fails.
  int64_t memory_bytes = 0;
  // What it is told first.
  v1::WorkerConfig config = {};
};

// A worker process as its supervisor has it: the process, and this end of the
// socket. It sees none of our secrets, and prints where we do. The destructor
// kills it. Start it from a thread that outlives it (see ChildProcess).
//
// Not thread-safe.
class WorkerChild {
 public:
  // kNotFound, kResourceExhausted and others, of what could not be started.
  static absl::StatusOr<std::unique_ptr<WorkerChild>> Start(
      const WorkerProgram& program);
  ~WorkerChild();
  WorkerChild(const WorkerChild&) = delete;
  WorkerChild& operator=(const WorkerChild&) = delete;

  // For worker_socket.h.
  int socket() const { return socket_; }
  pid_t pid() const { return process_->pid(); }
  // As ChildProcess::Kill: how it ended.
  const std::string& Kill() { return process_->Kill(); }

 private:
  WorkerChild(std::unique_ptr<ChildProcess> process, int socket)
      : process_(std::move(process)), socket_(socket) {}

  const std::unique_ptr<ChildProcess> process_;
  const int socket_;
};

}  // namespace camherd::capture
