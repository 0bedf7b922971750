// SPDX-License-Identifier: Apache-2.0
#include "services/capture/process_workers.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <deque>
#include <map>
#include <set>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/synchronization/mutex.h"
#include "services/capture/process_usage.h"
#include "services/capture/worker_child.h"
#include "services/capture/worker_event.h"
#include "services/capture/worker_socket.h"
#include "services/common/log.h"

namespace camherd::capture {
namespace {

// WorkerStats::lost of a process that ended by itself, until it is known how.
constexpr char kEnded[] = "ended";
constexpr int kMostEventsAtOnce = 64;
constexpr absl::Duration kPingInterval = absl::Seconds(1);
// A process that has run for so long has not ended "again and again".
constexpr absl::Duration kHealthyAfter = absl::Seconds(60);
// Before a process for all is started again: its streams wait.
constexpr absl::Duration kLongestPause = absl::Seconds(3);
const std::string& StreamIdOf(const v1::ToWorker& message) {
  switch (message.message_case()) {
    case v1::ToWorker::kAssign:
      return message.assign().stream_id();
    case v1::ToWorker::kRevoke:
      return message.revoke().stream_id();
    case v1::ToWorker::kPause:
      return message.pause().stream_id();
    case v1::ToWorker::kGrant:
      return message.grant().stream_id();
    case v1::ToWorker::kConfigure:
    case v1::ToWorker::kProbe:
    case v1::ToWorker::kPing:
    case v1::ToWorker::MESSAGE_NOT_SET:
      break;
  }
  static const auto& none = *new std::string;
  return none;
}

}  // namespace

class ProcessWorkers::Impl {
 public:
  Impl(const Options& options, EventSink on_event, Clock& clock)
      : options_(options), on_event_(std::move(on_event)), clock_(clock) {
    absl::MutexLock lock(&mu_);
    for (int i = 0; i < options_.processes; ++i) AddSlot("");
  }

  void Send(const v1::ToWorker& message) {
    const std::string& id = StreamIdOf(message);
    // Joined without the lock.
    std::vector<std::unique_ptr<Slot>> done;
    absl::MutexLock lock(&mu_);
    done.swap(done_);
    auto found = streams_.find(id);
    if (found == streams_.end()) {
      // To a stream whose process has just ended, or as we end.
      if (!message.has_assign() || stopping_) return;
      found = streams_.emplace(id, Placement{.slot = ChooseSlot(id)}).first;
      ++found->second.slot->streams;
    }
    Placement& placement = found->second;
    // What it is assigned next is all that counts then.
    if (placement.moving && message.has_assign()) return;
    placement.revoked = placement.revoked || message.has_revoke();
    placement.slot->outbox.push_back(message);
    placement.slot->Wake();
  }

  void Stop() {
    std::vector<std::unique_ptr<Slot>> slots;
    absl::MutexLock lock(&mu_);
    stopping_ = true;
    for (const auto& slot : slots_) slot->Wake();
    mu_.Await(absl::Condition(
        +[](std::vector<std::unique_ptr<Slot>>* left) { return left->empty(); },
        &slots_));
    slots.swap(done_);
  }

  WorkerStats stats() const {
    absl::MutexLock lock(&mu_);
    WorkerStats stats;
    stats.lost = lost_;
    stats.cpu_seconds = ended_cpu_seconds_;
    for (const auto& slot : slots_) {
      if (slot->pid == 0) continue;
      ++stats.processes;
      if (const auto usage = ReadProcessUsage(slot->pid); usage.ok()) {
        stats.cpu_seconds += usage->cpu_seconds;
        stats.memory_bytes += usage->memory_bytes;
      }
    }
    stats.quarantined = static_cast<int64_t>(quarantine_.size());
    return stats;
  }

 private:
  // A process, and then the next in its place. What follows `thread` is guarded
  // by mu_.
  struct Slot {
    Slot() : wake_fd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}
    ~Slot() {
      if (thread.joinable()) thread.join();
      close(wake_fd);
    }
    void Wake() const {
      const uint64_t one = 1;
      [[maybe_unused]] const ssize_t n = write(wake_fd, &one, sizeof(one));
    }

    int number = 0;
    // The only stream it is for; empty: it is open to all.
    std::string quarantined;
    const int wake_fd;
    std::thread thread;

    std::deque<v1::ToWorker> outbox;
    int streams = 0;
    // Of its process, until that is reaped; 0: none runs.
    pid_t pid = 0;
    // No process is started before, on the steady clock.
    absl::Duration start_at;
    // Before the next start.
    absl::Duration pause;
  };
  struct Placement {
    Slot* slot = nullptr;
    bool revoked = false;
    // It was told to leave its quarantine, and goes on elsewhere.
    bool moving = false;
  };
  struct Quarantine {
    absl::Duration until;
    absl::Duration pause;
  };
  // How a process ended.
  struct End {
    // Key of WorkerStats::lost; empty: it was asked to.
    std::string kind;
    std::string description;
    // Streams it was working on.
    std::set<std::string> blamed;
  };

  void AddSlot(const std::string& quarantined)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    slots_.push_back(std::make_unique<Slot>());
    Slot& slot = *slots_.back();
    slot.number = ++slots_made_;
    slot.quarantined = quarantined;
    slot.thread = std::thread([this, &slot] { RunSlot(slot); });
  }

  // The one with the fewest streams; in quarantine one of its own.
  Slot* ChooseSlot(const std::string& id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    const auto quarantine = quarantine_.find(id);
    if (quarantine != quarantine_.end()) {
      AddSlot(id);
      slots_.back()->start_at = clock_.SteadyNow() + quarantine->second.pause;
      return slots_.back().get();
    }
    Slot* chosen = nullptr;
    for (const auto& slot : slots_) {
      if (!slot->quarantined.empty()) continue;
      if (chosen == nullptr || slot->streams < chosen->streams) {
        chosen = slot.get();
      }
    }
    return chosen;
  }

  void RunSlot(Slot& slot) {
    while (AwaitStart(slot)) {
      const absl::Duration since = clock_.SteadyNow();
      const End end = RunProcess(slot);
      Settle(slot, end, clock_.SteadyNow() - since);
    }
    // What was revoked before it had a process.
    Settle(slot, {.kind = "", .description = "", .blamed = {}},
           absl::ZeroDuration());
    absl::MutexLock lock(&mu_);
    for (auto it = slots_.begin(); it != slots_.end(); ++it) {
      if (it->get() != &slot) continue;
      // Joined by whoever comes next.
      done_.push_back(std::move(*it));
      slots_.erase(it);
      break;
    }
  }

  // False: no process is wanted any more.
  bool AwaitStart(Slot& slot) {
    while (true) {
      absl::Duration wait;
      {
        absl::MutexLock lock(&mu_);
        if (stopping_ || IsDone(slot)) return false;
        wait = slot.start_at - clock_.SteadyNow();
        if (wait <= absl::ZeroDuration()) return true;
      }
      WaitForWake(slot, -1, 0, wait);
    }
  }

  // Nothing is left to do for a quarantined stream's process.
  bool IsDone(const Slot& slot) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    if (slot.quarantined.empty()) return false;
    const auto found = streams_.find(slot.quarantined);
    return found == streams_.end() || found->second.slot != &slot ||
           (found->second.revoked && slot.pid == 0);
  }

  // Until the slot is woken, `fd` has one of `events`, or the time is over, a
  // second at most.
  static void WaitForWake(const Slot& slot, int fd, short events,
                          absl::Duration wait) {
    std::array<pollfd, 2> fds = {pollfd{slot.wake_fd, POLLIN, 0},
                                 pollfd{fd, events, 0}};
    const int64_t milliseconds =
        std::clamp<int64_t>(absl::ToInt64Milliseconds(wait) + 1, 0, 1000);
    poll(fds.data(), fds.size(), static_cast<int>(milliseconds));
    uint64_t count = 0;
    [[maybe_unused]] const ssize_t n =
        read(slot.wake_fd, &count, sizeof(count));
  }

  End RunProcess(Slot& slot) {
    const absl::StatusOr<std::unique_ptr<WorkerChild>> child =
        WorkerChild::Start(options_.worker);
    if (!child.ok()) {
      return {.kind = "not_started",
              .description = std::string(child.status().message()),
              .blamed = {}};
    }
    LogInfo("worker started", {{"worker", slot.number},
                               {"pid", (*child)->pid()},
                               {"only_for", slot.quarantined}});
    SetPid(slot, (*child)->pid());
    End end = Serve(slot, (*child)->socket());
    SetPid(slot, 0);
    const std::string how = (*child)->Kill();
    if (end.kind == kEnded) {
      end.kind = !end.blamed.empty()                  ? "crashed"
                 : absl::StartsWith(how, "exit code") ? "exited"
                                                      : "killed";
      end.description = how;
    }
    return end;
  }

  void SetPid(Slot& slot, pid_t pid) {
    absl::MutexLock lock(&mu_);
    if (const pid_t last = std::exchange(slot.pid, pid); last != 0) {
      const auto usage = ReadProcessUsage(last);
      if (usage.ok()) ended_cpu_seconds_ += usage->cpu_seconds;
    }
  }

  // Talks to the process until it has ended or is to be killed.
  End Serve(Slot& slot, int fd) {
    v1::ToWorker ping;
    ping.mutable_ping();
    absl::Duration heard = clock_.SteadyNow();
    absl::Duration pinged = heard;
    bool stopping = false;
    std::set<std::string> blamed;
    while (true) {
      const Outbox outbox = Flush(slot, fd);
      if (outbox.done && !stopping) {
        stopping = true;
        shutdown(fd, SHUT_WR);
      }
      const short events = outbox.full ? POLLIN | POLLOUT : POLLIN;
      WaitForWake(slot, fd, events, kPingInterval);
      // All there is, but the outbox waits.
      for (int i = 0; i < kMostEventsAtOnce; ++i) {
        v1::FromWorker event;
        const absl::StatusOr<bool> more =
            ReceiveFromWorkerSocket(fd, event, /*wait=*/false);
        if (absl::IsNotFound(more.status())) break;
        if (!more.ok()) {
          return {.kind = "exited",
                  .description = std::string(more.status().message()),
                  .blamed = {}};
        }
        if (!*more) {
          return {.kind = stopping ? "" : kEnded,
                  .description = "",
                  .blamed = std::move(blamed)};
        }
        if (const absl::Status status = CheckWorkerEvent(event); !status.ok()) {
          return {.kind = "crashed",
                  .description = std::string(status.message()),
                  .blamed = {event.stream_id()}};
        }
        if (event.has_crashed()) {
          blamed.insert(event.stream_id());
        } else if (!event.has_pong()) {
          OnEvent(slot, event);
        } else if (!event.pong().hanging_stream_ids().empty()) {
          return {.kind = "hung",
                  .description = "it did not come back from a picture",
                  .blamed = {event.pong().hanging_stream_ids().begin(),
                             event.pong().hanging_stream_ids().end()}};
        }
        // After the event, since it does not answer for the time we took.
        heard = clock_.SteadyNow();
      }
      const absl::Duration now = clock_.SteadyNow();
      const absl::Duration patience =
          stopping ? options_.stop_timeout : options_.answer_timeout;
      if (now - heard > patience) {
        return {.kind = "hung",
                .description = absl::StrCat("it did not answer for ",
                                            absl::FormatDuration(patience)),
                .blamed = {}};
      }
      if (now - pinged >= kPingInterval && !stopping) {
        pinged = now;
        SendToWorkerSocket(fd, ping, /*wait=*/false).IgnoreError();
      }
    }
  }

  struct Outbox {
    // Not all went out.
    bool full = false;
    // Nothing more will come: the process is to end.
    bool done = false;
  };

  Outbox Flush(Slot& slot, int fd) {
    absl::MutexLock lock(&mu_);
    if (stopping_ || IsDone(slot)) return {.done = true};
    if (IsQuarantineOver(slot)) {
      streams_[slot.quarantined].moving = true;
      v1::ToWorker revoke;
      revoke.mutable_revoke()->set_stream_id(slot.quarantined);
      slot.outbox.push_back(revoke);
    }
    while (!slot.outbox.empty()) {
      // A process that has gone is seen when it is listened to.
      if (!SendToWorkerSocket(fd, slot.outbox.front(), /*wait=*/false).ok()) {
        return {.full = true};
      }
      slot.outbox.pop_front();
    }
    return {};
  }

  bool IsQuarantineOver(const Slot& slot) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    if (slot.quarantined.empty()) return false;
    const Placement& placement = streams_.at(slot.quarantined);
    const auto quarantine = quarantine_.find(slot.quarantined);
    return !placement.moving && !placement.revoked &&
           quarantine != quarantine_.end() &&
           quarantine->second.until <= clock_.SteadyNow();
  }

  void OnEvent(Slot& slot, v1::FromWorker& event) {
    {
      absl::MutexLock lock(&mu_);
      const auto found = streams_.find(event.stream_id());
      // Of a process's own streams only.
      if (found == streams_.end() || found->second.slot != &slot) return;
      if (event.has_ended()) TakeOut(found, event);
    }
    on_event_(event);
  }

  // Of a stream that has ended in its process.
  void TakeOut(std::map<std::string, Placement>::iterator stream,
               v1::FromWorker& event) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    const bool moving = stream->second.moving && !stream->second.revoked;
    --stream->second.slot->streams;
    streams_.erase(stream);
    quarantine_.erase(event.stream_id());
    if (moving && !stopping_) {
      event.mutable_ended()->set_lost(true);
      event.mutable_ended()->set_reason("it leaves its quarantine");
    }
  }

  // Takes the streams from a process that has ended, and tells.
  void Settle(Slot& slot, End end, absl::Duration ran) {
    std::vector<v1::FromWorker> events;
    {
      absl::MutexLock lock(&mu_);
      const absl::Duration now = clock_.SteadyNow();
      slot.outbox.clear();
      if (!slot.quarantined.empty() && !end.kind.empty()) {
        end.blamed.insert(slot.quarantined);
      }
      for (auto it = streams_.begin(); it != streams_.end();) {
        if (it->second.slot != &slot) {
          ++it;
          continue;
        }
        v1::FromWorker& event = events.emplace_back();
        event.set_stream_id(it->first);
        v1::StreamEnded& ended = *event.mutable_ended();
        const bool blamed = end.blamed.count(it->first) > 0;
        if (!it->second.revoked && !stopping_) {
          ended.set_lost(true);
          ended.set_reason(absl::StrCat(
              blamed ? "its worker process ended while at work on it: "
                     : "its worker process ended: ",
              end.description));
          if (blamed) Punish(it->first, now, ended);
        } else {
          quarantine_.erase(it->first);
        }
        it = streams_.erase(it);
      }
      slot.streams = 0;
      if (!end.kind.empty() && !stopping_) {
        ++lost_[end.kind];
        slot.pause = ran >= kHealthyAfter
                         ? absl::ZeroDuration()
                         : NextPause(slot.pause, options_.restart_initial,
                                     kLongestPause);
        // The first time at once.
        slot.start_at = now + slot.pause - options_.restart_initial;
        LogError("worker lost", {{"worker", slot.number},
                                 {"kind", end.kind},
                                 {"reason", end.description},
                                 {"streams", events.size()},
                                 {"blamed", absl::StrJoin(end.blamed, ",")}});
      }
    }
    for (const v1::FromWorker& event : events) on_event_(event);
  }

  // Puts a stream in quarantine, or leaves it there for longer.
  void Punish(const std::string& id, absl::Duration now, v1::StreamEnded& ended)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    const auto [it, first] = quarantine_.try_emplace(id);
    Quarantine& quarantine = it->second;
    quarantine.pause =
        first ? absl::ZeroDuration()
              : NextPause(quarantine.pause, options_.restart_initial,
                          options_.restart_max);
    quarantine.until = now + quarantine.pause + options_.quarantine;
    ended.set_retry_after_seconds(absl::ToDoubleSeconds(quarantine.pause));
    ended.set_quarantine_seconds(absl::ToDoubleSeconds(quarantine.until - now));
  }

  static absl::Duration NextPause(absl::Duration last, absl::Duration initial,
                                  absl::Duration longest) {
    return std::min(std::max(2 * last, initial), longest);
  }

  const Options options_;
  const EventSink on_event_;
  Clock& clock_;

  mutable absl::Mutex mu_;
  std::vector<std::unique_ptr<Slot>> slots_ ABSL_GUARDED_BY(mu_);
  // Their threads have ended or are about to.
  std::vector<std::unique_ptr<Slot>> done_ ABSL_GUARDED_BY(mu_);
  int slots_made_ ABSL_GUARDED_BY(mu_) = 0;
  std::map<std::string, Placement> streams_ ABSL_GUARDED_BY(mu_);
  std::map<std::string, Quarantine> quarantine_ ABSL_GUARDED_BY(mu_);
  std::map<std::string, int64_t> lost_ ABSL_GUARDED_BY(mu_);
  double ended_cpu_seconds_ ABSL_GUARDED_BY(mu_) = 0;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
};

ProcessWorkers::ProcessWorkers(const Options& options, EventSink on_event,
                               Clock& clock)
    : impl_(std::make_unique<Impl>(options, std::move(on_event), clock)) {}

ProcessWorkers::~ProcessWorkers() { Stop(); }

void ProcessWorkers::Send(const v1::ToWorker& message) { impl_->Send(message); }

void ProcessWorkers::Stop() { impl_->Stop(); }

WorkerStats ProcessWorkers::stats() const { return impl_->stats(); }

}  // namespace camherd::capture
