// SPDX-License-Identifier: Apache-2.0
#include "services/capture/task_scope.h"

#include <signal.h>
#include <sys/socket.h>

#include <array>
#include <set>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "camherd/v1/worker.pb.h"

namespace camherd::capture {
namespace {

constexpr std::array<int, 5> kFatalSignals = {SIGSEGV, SIGBUS, SIGFPE, SIGILL,
                                              SIGABRT};

struct Registry {
  absl::Mutex mu;
  std::set<TaskScope*> scopes ABSL_GUARDED_BY(mu);
};

Registry& TheRegistry() {
  static auto& registry = *new Registry;
  return registry;
}

thread_local TaskScope* current = nullptr;
int crash_socket = -1;

// A stack of its own for the handler, since a stack that has overflowed is
// among what it reports.
class HandlerStack {
 public:
  HandlerStack() {
    stack_t stack = {};
    stack.ss_sp = memory_.data();
    stack.ss_size = memory_.size();
    sigaltstack(&stack, nullptr);
  }
  ~HandlerStack() {
    stack_t stack = {};
    stack.ss_flags = SS_DISABLE;
    sigaltstack(&stack, nullptr);
  }

 private:
  std::array<char, 16 << 10> memory_;
};

}  // namespace

TaskScope::Tag::Tag(const std::string& stream_id)
    : stream_id_(stream_id), crash_message_([&] {
        v1::FromWorker message;
        message.set_stream_id(stream_id);
        message.mutable_crashed();
        return message.SerializeAsString();
      }()) {}

TaskScope::TaskScope(const Tag& tag, absl::Duration limit, Clock& clock)
    : tag_(tag), outer_(current), deadline_(clock.SteadyNow() + limit) {
  if (crash_socket >= 0) {
    thread_local HandlerStack stack;
    static_cast<void>(stack);
  }
  Registry& registry = TheRegistry();
  {
    absl::MutexLock lock(&registry.mu);
    registry.scopes.insert(this);
  }
  current = this;
}

TaskScope::~TaskScope() {
  current = outer_;
  Registry& registry = TheRegistry();
  absl::MutexLock lock(&registry.mu);
  registry.scopes.erase(this);
}

std::vector<std::string> TaskScope::Overdue(Clock& clock) {
  const absl::Duration now = clock.SteadyNow();
  std::set<std::string> ids;
  Registry& registry = TheRegistry();
  absl::MutexLock lock(&registry.mu);
  for (const TaskScope* scope : registry.scopes) {
    if (scope->deadline_ < now) ids.insert(scope->tag_.stream_id());
  }
  return {ids.begin(), ids.end()};
}

TaskScope::Pause::Pause(Clock& clock)
    : clock_(clock), since_(clock.SteadyNow()) {
  if (current == nullptr) return;
  absl::MutexLock lock(&TheRegistry().mu);
  current->left_when_paused_ = current->deadline_ - since_;
  current->deadline_ = absl::InfiniteDuration();
}

TaskScope::Pause::~Pause() {
  if (current == nullptr) return;
  absl::MutexLock lock(&TheRegistry().mu);
  current->deadline_ = clock_.SteadyNow() + current->left_when_paused_;
}

void TaskScope::ReportCrashes(int socket) {
  crash_socket = socket;
  struct sigaction action = {};
  action.sa_handler = OnFatalSignal;
  action.sa_flags = SA_ONSTACK;
  sigemptyset(&action.sa_mask);
  for (const int signal : kFatalSignals) sigaction(signal, &action, nullptr);
}

// Async-signal-safe: no lock, no allocation.
void TaskScope::OnFatalSignal(int signal) {
  const TaskScope* const scope = current;
  if (scope != nullptr) {
    const std::string& message = scope->tag_.crash_message_;
    send(crash_socket, message.data(), message.size(),
         MSG_NOSIGNAL | MSG_DONTWAIT);
  }
  struct sigaction action = {};
  action.sa_handler = SIG_DFL;
  sigaction(signal, &action, nullptr);
  raise(signal);
}

}  // namespace camherd::capture
