// SPDX-License-Identifier: Apache-2.0
#include "services/capture/connect_queue.h"

#include <algorithm>

namespace camherd::capture {
namespace {

// What comes evenly from here comes to the camera a little less so: this is the
// room for it.
constexpr double kSlack = 1.05;

}  // namespace

ConnectQueue::ConnectQueue(const Options& options)
    : options_(options),
      gap_(absl::Seconds(kSlack / options.per_second)),
      host_gap_(absl::Seconds(kSlack / options.per_second_per_host)) {}

void ConnectQueue::Want(absl::string_view stream_id, int64_t request,
                        absl::string_view host) {
  const auto before = streams_.find(stream_id);
  if (before != streams_.end()) {
    if (before->second.place != 0 && before->second.host->first == host) {
      before->second.request = request;
      return;
    }
    Remove(before);
  }
  const auto it = hosts_.try_emplace(std::string(host)).first;
  const int64_t place = ++last_place_;
  it->second.waiting.emplace(place, stream_id);
  ++waiting_;
  untold_.emplace(place, it);
  streams_.insert_or_assign(
      std::string(stream_id),
      Stream{.host = it, .request = request, .place = place});
  Sort(it);
}

void ConnectQueue::Close(absl::string_view stream_id, int64_t request) {
  const auto stream = streams_.find(stream_id);
  if (stream == streams_.end() || stream->second.request != request) return;
  Remove(stream);
}

void ConnectQueue::Forget(absl::string_view stream_id) {
  const auto stream = streams_.find(stream_id);
  if (stream != streams_.end()) Remove(stream);
}

void ConnectQueue::StopWaiting(absl::string_view stream_id) {
  const auto stream = streams_.find(stream_id);
  if (stream != streams_.end() && stream->second.place != 0) Remove(stream);
}

std::vector<ConnectQueue::News> ConnectQueue::TakeNews(absl::Duration now) {
  now_ = std::max(now_, now);
  while (!pausing_.empty() && pausing_.begin()->first <= now_) {
    Sort(hosts_.find(pausing_.begin()->second));
  }
  std::vector<News> news;
  while (!ready_.empty() && next_ <= now_) Grant(news);
  for (const auto& [place, it] : std::exchange(untold_, {})) {
    Host& host = it->second;
    const std::string& stream_id = host.waiting.at(place);
    const bool room = HasRoom(host);
    if (room) host.hopeful.insert(place);
    news.push_back({.stream_id = stream_id,
                    .request = streams_.at(stream_id).request,
                    .host = it->first,
                    .kind = room ? Kind::kWaits : Kind::kNoSession});
  }
  return news;
}

absl::Duration ConnectQueue::NextAt() const {
  if (!untold_.empty()) return -absl::InfiniteDuration();
  absl::Duration next = absl::InfiniteDuration();
  if (!ready_.empty()) next = next_;
  if (!pausing_.empty()) next = std::min(next, pausing_.begin()->first);
  return next;
}

bool ConnectQueue::HasRoom(const Host& host) const {
  return options_.sessions_per_host == 0 ||
         host.sessions < options_.sessions_per_host;
}

void ConnectQueue::Grant(std::vector<News>& news) {
  const Hosts::iterator it = ready_.begin()->second;
  Host& host = it->second;
  const int64_t place = host.waiting.begin()->first;
  const std::string stream_id = host.waiting.begin()->second;
  TakeFromQueue(host, place);
  Stream& stream = streams_.at(stream_id);
  stream.place = 0;
  ++host.sessions;
  ++sessions_;
  next_ = now_ + gap_;
  host.next = now_ + host_gap_;
  news.push_back({.stream_id = stream_id,
                  .request = stream.request,
                  .host = it->first,
                  .kind = Kind::kGranted});
  if (!HasRoom(host)) {
    for (const int64_t left : std::exchange(host.hopeful, {})) {
      const std::string& id = host.waiting.at(left);
      news.push_back({.stream_id = id,
                      .request = streams_.at(id).request,
                      .host = it->first,
                      .kind = Kind::kNoSession});
    }
  }
  Sort(it);
}

void ConnectQueue::Remove(Streams::iterator stream) {
  const Hosts::iterator it = stream->second.host;
  if (stream->second.place != 0) {
    TakeFromQueue(it->second, stream->second.place);
  } else {
    --it->second.sessions;
    --sessions_;
  }
  streams_.erase(stream);
  Sort(it);
}

void ConnectQueue::TakeFromQueue(Host& host, int64_t place) {
  host.waiting.erase(place);
  host.hopeful.erase(place);
  untold_.erase(place);
  --waiting_;
}

void ConnectQueue::Sort(Hosts::iterator it) {
  Host& host = it->second;
  if (host.ready_key != 0) ready_.erase(std::exchange(host.ready_key, 0));
  if (host.pausing_key) {
    pausing_.erase({*host.pausing_key, it->first});
    host.pausing_key.reset();
  }
  const bool wants = !host.waiting.empty() && HasRoom(host);
  const bool idle = host.waiting.empty() && host.sessions == 0;
  if (!wants && !idle) return;
  if (host.next > now_) {
    // An idle host is remembered for as long as it is not to be connected to.
    host.pausing_key = host.next;
    pausing_.emplace(host.next, it->first);
  } else if (wants) {
    host.ready_key = host.waiting.begin()->first;
    ready_.emplace(host.ready_key, it);
  } else {
    hosts_.erase(it);
  }
}

}  // namespace camherd::capture
