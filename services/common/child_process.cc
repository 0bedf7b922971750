// SPDX-License-Identifier: Apache-2.0
#include "services/common/child_process.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "services/common/clock.h"
#include "services/common/file.h"
#include "services/common/status_macros.h"

extern char** environ;

namespace camherd {
namespace {

// Of the output at once: 1 MiB, sixteen times what a pipe holds.
constexpr int kMaxReads = 64;

// What the child needs, made before fork(): between fork and exec only
// async-signal-safe calls are allowed.
struct ExecPlan {
  const char* program;
  std::vector<char*> argv;
  std::vector<char*> env;
  const char* cwd;
  int pass_fd;
  int output_fd;
  int error_fd;
  rlim_t data_limit;
  rlim_t stack_limit;
  pid_t parent;
};

[[noreturn]] void FailChild(int error_fd) {
  const int error = errno;
  [[maybe_unused]] const ssize_t n = write(error_fd, &error, sizeof(error));
  _exit(127);
}

[[noreturn]] void RunChild(const ExecPlan& plan) {
  setpgid(0, 0);
  // The service blocks SIGTERM and SIGINT and ignores SIGPIPE; the child must
  // not.
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  signal(SIGPIPE, SIG_DFL);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != plan.parent) _exit(127);
  if (plan.data_limit != 0) {
    const rlimit limit = {plan.data_limit, plan.data_limit};
    if (setrlimit(RLIMIT_DATA, &limit) != 0) FailChild(plan.error_fd);
  }
  if (plan.stack_limit != 0) {
    const rlimit limit = {plan.stack_limit, plan.stack_limit};
    if (setrlimit(RLIMIT_STACK, &limit) != 0) FailChild(plan.error_fd);
  }
  const rlimit no_core = {0, 0};
  setrlimit(RLIMIT_CORE, &no_core);
  if (chdir(plan.cwd) != 0) FailChild(plan.error_fd);
  const int null_fd = open("/dev/null", O_RDONLY);
  if (null_fd < 0 || dup2(null_fd, 0) < 0) FailChild(plan.error_fd);
  if (plan.output_fd >= 0 &&
      (dup2(plan.output_fd, 1) < 0 || dup2(plan.output_fd, 2) < 0)) {
    FailChild(plan.error_fd);
  }
  // Whatever libraries of ours left open must not leak into the child.
  int first_closed = 3;
  if (plan.pass_fd >= 0) {
    // To itself it would stay one that exec closes.
    if (plan.pass_fd == 3 ? fcntl(3, F_SETFD, 0) < 0
                          : dup2(plan.pass_fd, 3) < 0) {
      FailChild(plan.error_fd);
    }
    first_closed = 4;
  }
  if (syscall(SYS_close_range, first_closed, ~0U, CLOSE_RANGE_CLOEXEC) != 0) {
    for (int fd = first_closed; fd < 4096; ++fd) fcntl(fd, F_SETFD, FD_CLOEXEC);
  }
  execve(plan.program, plan.argv.data(), plan.env.data());
  FailChild(plan.error_fd);
}

std::vector<char*> CStrings(const std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  pointers.reserve(strings.size() + 1);
  for (const std::string& s : strings) {
    pointers.push_back(const_cast<char*>(s.c_str()));
  }
  pointers.push_back(nullptr);
  return pointers;
}

void Close(int fd) {
  if (fd >= 0) close(fd);
}

std::string DescribeEnd(const siginfo_t& info) {
  if (info.si_code == CLD_EXITED) {
    return absl::StrCat("exit code ", info.si_status);
  }
  return absl::StrCat("signal ", info.si_status, " (",
                      strsignal(info.si_status), ")");
}

}  // namespace

absl::StatusOr<std::unique_ptr<ChildProcess>> ChildProcess::Spawn(
    const Options& options) {
  if (options.argv.empty()) {
    return absl::InvalidArgumentError("argv must not be empty");
  }
  std::array<int, 2> output = {-1, -1};
  if (!options.inherit_output && pipe2(output.data(), O_CLOEXEC) != 0) {
    return ErrnoStatus(errno, "pipe2", options.argv[0]);
  }
  // Closed by a successful exec; holds errno of a failed one.
  std::array<int, 2> error;
  if (pipe2(error.data(), O_CLOEXEC) != 0) {
    const int saved = errno;
    Close(output[0]);
    Close(output[1]);
    return ErrnoStatus(saved, "pipe2", options.argv[0]);
  }
  // Away from descriptor 3, which dup2 may overwrite in the child.
  const int high_error = fcntl(error[1], F_DUPFD_CLOEXEC, 16);
  const int high_output =
      output[1] < 0 ? -1 : fcntl(output[1], F_DUPFD_CLOEXEC, 16);
  close(error[1]);
  Close(output[1]);
  ExecPlan plan = {options.program.empty() ? options.argv[0].c_str()
                                           : options.program.c_str(),
                   CStrings(options.argv),
                   CStrings(options.env),
                   options.cwd.empty() ? "/" : options.cwd.c_str(),
                   options.pass_fd,
                   high_output,
                   high_error,
                   static_cast<rlim_t>(options.data_limit_bytes),
                   static_cast<rlim_t>(options.stack_limit_bytes),
                   getpid()};
  const pid_t pid = fork();
  if (pid == 0) RunChild(plan);
  const int fork_error = errno;
  Close(high_output);
  close(high_error);
  if (pid < 0) {
    Close(output[0]);
    close(error[0]);
    return ErrnoStatus(fork_error, "fork", options.argv[0]);
  }
  setpgid(pid, pid);
  std::unique_ptr<ChildProcess> child(new ChildProcess());
  child->pid_ = pid;
  child->output_fd_ = output[0];
  if (output[0] >= 0) fcntl(output[0], F_SETFL, O_NONBLOCK);
  child->pidfd_ = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
  int exec_error = 0;
  ssize_t n;
  do {
    n = read(error[0], &exec_error, sizeof(exec_error));
  } while (n < 0 && errno == EINTR);
  close(error[0]);
  if (n == sizeof(exec_error)) {
    child->Kill();
    return ErrnoStatus(exec_error, "exec", options.argv[0]);
  }
  if (child->pidfd_ < 0) {
    child->Kill();
    return absl::InternalError("pidfd_open failed; Linux 5.3 is needed");
  }
  return child;
}

ChildProcess::~ChildProcess() {
  Kill();
  Close(pidfd_);
  Close(output_fd_);
}

bool ChildProcess::ReadOutput(const LineSplitter::LineFn& line) {
  std::array<char, 16384> buffer;
  // A child that prints without end must not keep us here.
  for (int reads = 0; reads < kMaxReads; ++reads) {
    const ssize_t n = read(output_fd_, buffer.data(), buffer.size());
    if (n > 0) {
      lines_.Add(absl::string_view(buffer.data(), n), line);
      continue;
    }
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return true;
    lines_.Finish(line);
    return false;
  }
  return true;
}

bool ChildProcess::HasExited() const {
  if (reaped_) return true;
  siginfo_t info = {};
  waitid(P_PID, pid_, &info, WEXITED | WNOHANG | WNOWAIT);
  return info.si_pid == pid_;
}

const std::string& ChildProcess::Kill() {
  if (reaped_) return end_;
  // The group is ended before the leader is reaped: as long as it is a zombie
  // its number cannot be given to another.
  kill(-pid_, SIGKILL);
  kill(pid_, SIGKILL);
  siginfo_t info = {};
  while (waitid(P_PID, pid_, &info, WEXITED) != 0 && errno == EINTR) {
  }
  reaped_ = true;
  exit_code_ = info.si_code == CLD_EXITED ? info.si_status : -1;
  end_ = DescribeEnd(info);
  return end_;
}

absl::Status RunCommand(const ChildProcess::Options& options,
                        absl::Duration timeout, const StopSignal& stop,
                        const LineSplitter::LineFn& line,
                        const std::function<void()>& tick) {
  CAMHERD_ASSIGN_OR_RETURN(const std::unique_ptr<ChildProcess> spawned,
                           ChildProcess::Spawn(options));
  ChildProcess& child = *spawned;
  const absl::Duration deadline = Clock::Real().SteadyNow() + timeout;
  bool output_open = true;
  for (;;) {
    std::array<pollfd, 3> fds = {
        pollfd{child.exit_fd(), POLLIN, 0}, pollfd{stop.fd(), POLLIN, 0},
        pollfd{output_open ? child.output_fd() : -1, POLLIN, 0}};
    poll(fds.data(), fds.size(), 500);
    if (output_open) output_open = child.ReadOutput(line);
    if (tick) tick();
    const std::string& program = options.argv[0];
    if (child.HasExited()) {
      // What it printed last.
      if (output_open) child.ReadOutput(line);
      const std::string end = child.Kill();
      if (child.exit_code() == 0) return absl::OkStatus();
      return absl::InternalError(absl::StrCat(program, " ended with ", end));
    }
    if (stop.IsSet()) {
      return absl::CancelledError(absl::StrCat(program, " was stopped"));
    }
    if (Clock::Real().SteadyNow() > deadline) {
      return absl::DeadlineExceededError(absl::StrCat(
          program, " did not end within ", absl::FormatDuration(timeout)));
    }
  }
}

std::vector<std::string> EnvironmentForChildren() {
  static const auto& names = *new std::set<std::string>{"PATH",
                                                        "HOME",
                                                        "LANG",
                                                        "LC_ALL",
                                                        "LC_CTYPE",
                                                        "TMPDIR",
                                                        "TZ",
                                                        "http_proxy",
                                                        "https_proxy",
                                                        "no_proxy",
                                                        "HTTP_PROXY",
                                                        "HTTPS_PROXY",
                                                        "NO_PROXY",
                                                        "all_proxy",
                                                        "ALL_PROXY",
                                                        "SSL_CERT_FILE",
                                                        "SSL_CERT_DIR",
                                                        "CURL_CA_BUNDLE",
                                                        "REQUESTS_CA_BUNDLE"};
  std::vector<std::string> kept;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string variable = *entry;
    const std::string name = variable.substr(0, variable.find('='));
    if (names.count(name) > 0 || absl::StartsWith(name, "PIP_") ||
        absl::StartsWith(name, "UV_")) {
      kept.push_back(variable);
    }
  }
  return kept;
}

}  // namespace camherd
