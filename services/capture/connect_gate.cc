// SPDX-License-Identifier: Apache-2.0
#include "services/capture/connect_gate.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/time/time.h"

namespace camherd::capture {
namespace {

// Longest sleep: an infinite one in chrono's terms.
constexpr absl::Duration kLongestSleep = absl::Hours(1);
// Where the next connect is due, but the clock is not quite there.
constexpr absl::Duration kShortestSleep = absl::Microseconds(100);

}  // namespace

ConnectGate::ConnectGate(const ConnectQueue::Options& options, OnNews on_news,
                         Clock& clock)
    : on_news_(std::move(on_news)), clock_(clock), queue_(options) {
  thread_ = std::thread([this] { Run(); });
}

ConnectGate::~ConnectGate() { Stop(); }

void ConnectGate::OnEvent(const v1::FromWorker& event) {
  switch (event.message_case()) {
    case v1::FromWorker::kConnectWanted: {
      absl::MutexLock lock(&mu_);
      queue_.Want(event.stream_id(), event.connect_wanted().request(),
                  absl::AsciiStrToLower(event.connect_wanted().host()));
      break;
    }
    case v1::FromWorker::kConnectionClosed: {
      absl::MutexLock lock(&mu_);
      queue_.Close(event.stream_id(), event.connection_closed().request());
      break;
    }
    case v1::FromWorker::kEnded: {
      absl::MutexLock lock(&mu_);
      queue_.Forget(event.stream_id());
      break;
    }
    default:
      return;
  }
  Wake();
}

void ConnectGate::OnRevoked(absl::string_view stream_id) {
  absl::MutexLock lock(&mu_);
  queue_.StopWaiting(stream_id);
}

void ConnectGate::Stop() {
  {
    const std::lock_guard<std::mutex> lock(wake_mu_);
    stopped_ = true;
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
}

size_t ConnectGate::waiting() const {
  absl::MutexLock lock(&mu_);
  return queue_.waiting();
}

void ConnectGate::Run() {
  while (true) {
    std::vector<ConnectQueue::News> news;
    absl::Duration next;
    {
      absl::MutexLock lock(&mu_);
      news = queue_.TakeNews(clock_.SteadyNow());
      next = queue_.NextAt();
    }
    for (const ConnectQueue::News& one : news) on_news_(one);
    const absl::Duration sleep =
        std::clamp(next - clock_.SteadyNow(), kShortestSleep, kLongestSleep);
    std::unique_lock<std::mutex> lock(wake_mu_);
    wake_.wait_for(lock, absl::ToChronoNanoseconds(sleep),
                   [this] { return woken_ || stopped_; });
    woken_ = false;
    if (stopped_) return;
  }
}

void ConnectGate::Wake() {
  {
    const std::lock_guard<std::mutex> lock(wake_mu_);
    woken_ = true;
  }
  wake_.notify_one();
}

}  // namespace camherd::capture
