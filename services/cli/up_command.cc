// SPDX-License-Identifier: Apache-2.0
#include "services/cli/up_command.h"

#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"
#include "services/cli/exit_code.h"
#include "services/common/backoff.h"
#include "services/common/child_process.h"
#include "services/common/clock.h"
#include "services/common/file.h"
#include "services/common/status_macros.h"
#include "services/common/yaml_config.h"

namespace camherd::cli {
namespace {

// Each needs those before it.
constexpr std::array<const char*, 4> kServices = {"aggregator", "inference",
                                                  "capture", "gateway"};
constexpr std::array<Colour, 4> kColours = {Colour::kBlue, Colour::kCyan,
                                            Colour::kGreen, Colour::kBold};
// Those of a service, with room: it ends within 10 s.
constexpr absl::Duration kStopTimeout = absl::Seconds(12);
// One that does not serve by then keeps the others from starting no longer.
constexpr absl::Duration kServeTimeout = absl::Seconds(20);
constexpr absl::Duration kHealthyAfter = absl::Seconds(60);
// What a service exits with where its command line or configuration is wrong.
constexpr int kBadConfiguration = 2;

// The value of `key` in a log line; quoted or not.
std::string FieldOf(absl::string_view line, absl::string_view key) {
  const std::string lead = absl::StrCat(" ", key, "=");
  const size_t begin = line.find(lead);
  if (begin == absl::string_view::npos) return "";
  absl::string_view value = line.substr(begin + lead.size());
  if (!absl::ConsumePrefix(&value, "\"")) {
    return std::string(value.substr(0, value.find(' ')));
  }
  std::string text;
  for (size_t i = 0; i < value.size() && value[i] != '"'; ++i) {
    if (value[i] == '\\' && i + 1 < value.size()) ++i;
    text.push_back(value[i]);
  }
  return text;
}

// What follows the message.
std::string FieldsAfterMessage(absl::string_view line) {
  size_t at = line.find(" msg=");
  if (at == absl::string_view::npos) return "";
  at += 5;
  if (at < line.size() && line[at] == '"') {
    for (++at; at < line.size() && line[at] != '"'; ++at) {
      if (line[at] == '\\') ++at;
    }
    ++at;
  } else {
    at = std::min(line.find(' ', at), line.size());
  }
  return std::string(line.substr(std::min(at, line.size())));
}

// One service and its process.
struct Service {
  std::string name;
  Colour colour = Colour::kNone;
  std::unique_ptr<ChildProcess> process = nullptr;
  Backoff backoff{{.initial = absl::Seconds(1), .max = absl::Seconds(30)}};
  absl::Duration started = absl::ZeroDuration();
  // When it is to be started; absent: it runs, or is not to.
  std::optional<absl::Duration> due = {};
  // It has served since it was started, and ever.
  bool serving = false;
  bool served = false;
};

class Supervisor {
 public:
  Supervisor(const UpOptions& options, Console& console)
      : options_(options), console_(console), clock_(Clock::Real()) {
    for (size_t i = 0; i < kServices.size(); ++i) {
      services_[i].name = kServices[i];
      services_[i].colour = kColours[i];
    }
    for (const auto& [name, value] : YamlConfig::ProcessEnvironment()) {
      environment_.push_back(absl::StrCat(name, "=", value));
    }
  }
  ~Supervisor() {
    if (signals_ >= 0) close(signals_);
  }

  absl::Status Run() {
    CAMHERD_RETURN_IF_ERROR(Prepare());
    absl::Status status;
    while (status.ok() && !interrupted_) {
      status = StartDue();
      if (status.ok()) Wait(UntilNext());
      if (status.ok()) status = LookAfter();
    }
    const absl::Status stopped = StopAll();
    return status.ok() ? stopped : status;
  }

 private:
  absl::Status Prepare() {
    for (const Service& service : services_) {
      if (access(Program(service).c_str(), X_OK) != 0) {
        return ErrnoStatus(errno, "run", Program(service));
      }
    }
    char* cwd = getcwd(nullptr, 0);
    if (cwd == nullptr) return ErrnoStatus(errno, "getcwd", ".");
    cwd_ = cwd;
    std::free(cwd);
    sigset_t stop;
    sigemptyset(&stop);
    sigaddset(&stop, SIGTERM);
    // A shell ignores it for what runs in the background; blocked, it would
    // come all the same.
    struct sigaction interrupt = {};
    sigaction(SIGINT, nullptr, &interrupt);
    if (interrupt.sa_handler != SIG_IGN) sigaddset(&stop, SIGINT);
    sigprocmask(SIG_BLOCK, &stop, nullptr);
    signals_ = signalfd(-1, &stop, SFD_CLOEXEC | SFD_NONBLOCK);
    if (signals_ < 0) return ErrnoStatus(errno, "signalfd", "");
    services_[0].due = clock_.SteadyNow();
    return absl::OkStatus();
  }

  std::string Program(const Service& service) const {
    return absl::StrCat(options_.program_dir, "/camherd-", service.name);
  }

  absl::Status Start(Service& service) {
    ChildProcess::Options child{
        .argv = {Program(service)}, .env = environment_, .cwd = cwd_};
    if (!options_.config.empty()) {
      child.argv.insert(child.argv.end(), {"--config", options_.config});
    }
    if (!options_.data_dir.empty()) {
      child.argv.insert(child.argv.end(), {"--data-dir", options_.data_dir});
    }
    CAMHERD_ASSIGN_OR_RETURN(service.process, ChildProcess::Spawn(child));
    service.started = clock_.SteadyNow();
    service.due.reset();
    service.serving = false;
    return absl::OkStatus();
  }

  absl::Status StartDue() {
    const absl::Duration now = clock_.SteadyNow();
    for (size_t i = 0; i < services_.size(); ++i) {
      Service& service = services_[i];
      if (service.due.has_value() && *service.due <= now) {
        CAMHERD_RETURN_IF_ERROR(Start(service));
      }
      // The next one follows as soon as this one serves.
      const bool lets_on =
          service.served || (service.process != nullptr &&
                             now - service.started >= kServeTimeout);
      if (!lets_on) break;
      if (i + 1 == services_.size()) break;
      Service& next = services_[i + 1];
      if (next.process == nullptr && !next.due.has_value()) next.due = now;
    }
    return absl::OkStatus();
  }

  absl::Duration UntilNext() const {
    absl::Duration until = absl::Seconds(1);
    for (const Service& service : services_) {
      if (service.due.has_value()) {
        until = std::min(until, *service.due - clock_.SteadyNow());
      }
    }
    return std::max(until, absl::ZeroDuration());
  }

  // Until something is printed, ends, or is signalled.
  void Wait(absl::Duration timeout) {
    std::vector<pollfd> fds = {{signals_, POLLIN, 0}};
    for (const Service& service : services_) {
      if (service.process == nullptr) continue;
      fds.push_back({service.process->output_fd(), POLLIN, 0});
      fds.push_back({service.process->exit_fd(), POLLIN, 0});
    }
    poll(fds.data(), fds.size(),
         static_cast<int>(absl::ToInt64Milliseconds(timeout)) + 1);
    for (Service& service : services_) ReadLines(service);
    signalfd_siginfo info = {};
    while (read(signals_, &info, sizeof(info)) == sizeof(info)) {
      ++interrupted_;
    }
  }

  void ReadLines(Service& service) {
    if (service.process == nullptr) return;
    service.process->ReadOutput(
        [&](const std::string& line) { Print(service, line); });
  }

  void Print(Service& service, const std::string& line) {
    if (absl::StrContains(line, " msg=serving") && !service.serving) {
      service.serving = true;
      service.served = true;
      if (service.name == "gateway") SayWhere(FieldOf(line, "http"));
    }
    const std::string text = ReadableLogLine(service.name, line);
    // The time and the name in the service's colour, the rest in its level's.
    const size_t name_end =
        std::min(text.find(service.name) + service.name.size(), text.size());
    const Colour level = absl::StrContains(text, " ERROR ") ? Colour::kRed
                         : absl::StrContains(text, " WARNING ")
                             ? Colour::kYellow
                             : Colour::kNone;
    console_.Out(
        absl::StrCat(console_.Paint(service.colour, text.substr(0, name_end)),
                     console_.Paint(level, text.substr(name_end)), "\n"));
  }

  void SayWhere(const std::string& addresses) {
    const std::string first = addresses.substr(0, addresses.find(','));
    console_.Say(absl::StrCat("all four services run; the page is at http://",
                              Printable(first), "/; Ctrl-C ends them"));
  }

  absl::Status LookAfter() {
    const absl::Duration now = clock_.SteadyNow();
    for (Service& service : services_) {
      if (service.process == nullptr) continue;
      if (service.serving && now - service.started >= kHealthyAfter) {
        service.backoff.Reset();
      }
      if (!service.process->HasExited()) continue;
      const std::string end = End(service);
      const bool bad_configuration =
          !service.served && exit_code_ == kBadConfiguration;
      if (bad_configuration) {
        return WrongUsage(absl::StrCat("camherd-", service.name,
                                       " cannot use its configuration"));
      }
      const absl::Duration pause = service.backoff.Next();
      service.due = now + pause;
      console_.Say(absl::StrCat(
          "camherd-", service.name, " ended (", end, "); started again in ",
          absl::StrFormat("%.1f", absl::ToDoubleSeconds(pause)), " s"));
    }
    return absl::OkStatus();
  }

  // Its last lines, and how it ended.
  std::string End(Service& service) {
    ReadLines(service);
    const std::string end = service.process->Kill();
    exit_code_ = service.process->exit_code();
    service.process.reset();
    service.serving = false;
    return end;
  }

  absl::Status StopAll() {
    std::vector<std::string> late;
    if (interrupted_ > 0) console_.Say("stopping");
    const int interrupted = interrupted_;
    for (size_t i = services_.size(); i-- > 0;) {
      Service& service = services_[i];
      if (service.process == nullptr) continue;
      kill(service.process->pid(), SIGTERM);
      const absl::Duration end = clock_.SteadyNow() + kStopTimeout;
      while (!service.process->HasExited() && clock_.SteadyNow() < end &&
             interrupted_ == interrupted) {
        Wait(absl::Milliseconds(200));
      }
      const bool in_time = service.process->HasExited();
      const std::string how = End(service);
      if (in_time && exit_code_ == 0) continue;
      late.push_back(absl::StrCat(
          "camherd-", service.name,
          in_time ? absl::StrCat(" ended with ", how) : " had to be killed"));
    }
    if (late.empty()) return absl::OkStatus();
    std::string message;
    for (const std::string& one : late) {
      absl::StrAppend(&message, message.empty() ? "" : ", ", one);
    }
    return absl::DeadlineExceededError(message);
  }

  const UpOptions options_;
  Console& console_;
  Clock& clock_;
  std::vector<std::string> environment_;
  std::string cwd_;
  std::array<Service, kServices.size()> services_;
  int signals_ = -1;
  // Signals that came.
  int interrupted_ = 0;
  // Of the last process that ended.
  int exit_code_ = 0;
};

}  // namespace

std::string ReadableLogLine(const std::string& service,
                            const std::string& line) {
  absl::Time time;
  std::string error;
  const size_t space = line.find(' ');
  const std::string name = absl::StrFormat("%-10s", service);
  const std::string message = FieldOf(line, "msg");
  if (message.empty() || space == std::string::npos ||
      !absl::ParseTime(absl::RFC3339_full, line.substr(0, space), &time,
                       &error)) {
    return absl::StrCat("         ", name, "  ", Printable(line));
  }
  std::string level;
  for (const char* word : {"ERROR", "WARNING", "FATAL", "DEBUG"}) {
    if (absl::StartsWith(absl::string_view(line).substr(space + 1), word)) {
      level = absl::StrCat(word, " ");
    }
  }
  return absl::StrCat(
      absl::FormatTime("%H:%M:%S ", time, absl::LocalTimeZone()), name, "  ",
      level, Printable(message), Printable(FieldsAfterMessage(line)));
}

absl::Status RunUp(const UpOptions& options, Console& console) {
  return Supervisor(options, console).Run();
}

}  // namespace camherd::cli
