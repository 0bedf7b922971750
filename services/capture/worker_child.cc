// SPDX-License-Identifier: Apache-2.0
#include "services/capture/worker_child.h"

#include <unistd.h>

#include <cstdlib>
#include <utility>

#include "absl/strings/str_cat.h"
#include "services/capture/worker_socket.h"
#include "services/common/status_macros.h"

namespace camherd::capture {
namespace {

// Of a thread in a worker: the default of 8 MiB, of which the limit counts
// all, would be used up by a hundred streams.
constexpr int64_t kThreadStackBytes = 1 << 20;

// What a worker process sees of our environment: none of our secrets.
std::vector<std::string> WorkerEnvironment() {
  std::vector<std::string> environment = EnvironmentForChildren();
  // Of the sanitizers that the program may be built with.
  for (const char* name :
       {"ASAN_OPTIONS", "LSAN_OPTIONS", "TSAN_OPTIONS", "UBSAN_OPTIONS"}) {
    if (const char* value = std::getenv(name)) {
      environment.push_back(absl::StrCat(name, "=", value));
    }
  }
  return environment;
}

#ifdef CAMHERD_SANITIZED
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

}  // namespace

absl::StatusOr<std::unique_ptr<WorkerChild>> WorkerChild::Start(
    const WorkerProgram& program) {
  CAMHERD_ASSIGN_OR_RETURN(const WorkerSocketPair sockets,
                           MakeWorkerSocketPair());
  ChildProcess::Options options;
  options.program = program.file;
  options.argv = program.argv;
  options.env = WorkerEnvironment();
  options.pass_fd = sockets.worker;
  options.inherit_output = true;
  options.stack_limit_bytes = kThreadStackBytes;
  // A sanitizer's shadow would count as well.
  options.data_limit_bytes = kSanitized ? 0 : program.memory_bytes;
  absl::StatusOr<std::unique_ptr<ChildProcess>> process =
      ChildProcess::Spawn(options);
  close(sockets.worker);
  if (!process.ok()) {
    close(sockets.supervisor);
    return process.status();
  }
  std::unique_ptr<WorkerChild> child(
      new WorkerChild(*std::move(process), sockets.supervisor));
  v1::ToWorker configure;
  *configure.mutable_configure() = program.config;
  // A process that has gone is seen when it is listened to.
  SendToWorkerSocket(child->socket(), configure, /*wait=*/false).IgnoreError();
  return child;
}

WorkerChild::~WorkerChild() { close(socket_); }

}  // namespace camherd::capture
