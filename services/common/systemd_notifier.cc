// SPDX-License-Identifier: Apache-2.0
#include "services/common/systemd_notifier.h"

#include <systemd/sd-daemon.h>

#include <cstdint>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
#include "services/common/log.h"

namespace camherd {
namespace {

// Of the time after which systemd gives the service up.
constexpr int kFeedsPerTimeout = 4;

void Notify(const std::string& message) {
  if (const int result = sd_notify(/*unset_environment=*/0, message.c_str());
      result < 0) {
    LogWarning("systemd could not be told", {{"errno", -result}});
  }
}

// A status is one line.
std::string StatusLine(absl::string_view text) {
  return absl::StrCat("STATUS=", absl::StrReplaceAll(text, {{"\n", " "}}));
}

absl::Duration FeedInterval() {
  uint64_t timeout_us = 0;
  if (sd_watchdog_enabled(/*unset_environment=*/0, &timeout_us) <= 0) {
    return absl::ZeroDuration();
  }
  return absl::Microseconds(static_cast<int64_t>(timeout_us)) /
         kFeedsPerTimeout;
}

}  // namespace

SystemdNotifier::SystemdNotifier(Alive alive)
    : alive_(std::move(alive)), interval_(FeedInterval()) {
  Notify("READY=1\nSTATUS=serving");
  if (interval_ > absl::ZeroDuration()) {
    thread_ = std::thread([this] { Feed(); });
  }
}

SystemdNotifier::~SystemdNotifier() { Stop(); }

void SystemdNotifier::SetReady(const absl::Status& ready) {
  Notify(ready.ok() ? "STATUS=serving"
                    : StatusLine(absl::StrCat("not ready: ", ready.message())));
}

void SystemdNotifier::Stop() {
  {
    SteadyMutex::Holder lock(&mu_);
    if (stopping_) return;
    stopping_ = true;
  }
  Notify("STOPPING=1\nSTATUS=stopping");
  if (thread_.joinable()) thread_.join();
}

void SystemdNotifier::Feed() {
  bool was_alive = true;
  while (true) {
    const absl::Status alive = alive_();
    if (alive.ok()) {
      Notify("WATCHDOG=1");
    } else if (was_alive) {
      LogError("not alive, the watchdog is not fed", {{"status", alive}});
      Notify(StatusLine(absl::StrCat("not alive: ", alive.message())));
    }
    was_alive = alive.ok();
    SteadyMutex::Holder lock(&mu_);
    const auto stopping = [this] {
      mu_.AssertHeld();
      return stopping_;
    };
    if (mu_.AwaitFor(stopping, interval_)) return;
  }
}

}  // namespace camherd
