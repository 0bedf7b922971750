// SPDX-License-Identifier: Apache-2.0
#include "gateway/event_hub.h"

#include <optional>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "services/common/clock.h"
#include "services/common/log.h"
#include "services/common/proto_json.h"

namespace camherd::gateway {

EventHub::EventHub(const Options& options, BackendClients& clients)
    : options_(options), clients_(clients) {}

void EventHub::Start(OnStream on_stream) {
  on_stream_ = std::move(on_stream);
  sources_[kStreams].thread = std::thread([this] { RunStreams(); });
  sources_[kRecords].thread = std::thread([this] { RunRecords(); });
  sources_[kModels].thread = std::thread([this] { RunModels(); });
}

void EventHub::Stop() {
  {
    const std::lock_guard<std::mutex> lock(stop_mu_);
    stopped_ = true;
  }
  stop_changed_.notify_all();
  for (Watched& watched : sources_) {
    if (watched.thread.joinable()) watched.thread.join();
  }
}

const char* EventHub::ServiceOf(Source source) {
  switch (source) {
    case kStreams:
      return "capture";
    case kRecords:
      return "aggregator";
    case kModels:
      return "inference";
  }
  return "";
}

EventHub::Peer EventHub::peer(Source source) const {
  absl::MutexLock lock(&mu_);
  return sources_[source].peer;
}

bool EventHub::catching_up(Source source) const {
  absl::MutexLock lock(&mu_);
  return sources_[source].catching_up;
}

void EventHub::Run(
    Source source,
    const std::function<absl::Status(const std::string&)>& watch) {
  while (true) {
    const absl::Status ended = watch(ring(source).Newest().ToToken());
    {
      const std::lock_guard<std::mutex> lock(stop_mu_);
      if (stopped_) return;
    }
    // The deadline every call has: it is begun again at once.
    if (absl::IsDeadlineExceeded(ended)) continue;
    SetPeer(source, ended.ok()
                        ? absl::UnavailableError("the service has stopped")
                        : ended);
    std::unique_lock<std::mutex> lock(stop_mu_);
    if (stop_changed_.wait_for(lock, absl::ToChronoNanoseconds(options_.retry),
                               [this] { return stopped_; })) {
      return;
    }
  }
}

bool EventHub::Took(Source source, const std::string& token, bool reset,
                    bool has_event, WatchPosition* position) {
  const std::optional<WatchPosition> at = WatchPosition::Parse(token);
  if (!at.has_value()) return false;
  *position = *at;
  if (reset) {
    {
      absl::MutexLock lock(&mu_);
      sources_[source].catching_up = true;
    }
    ring(source).Restart(*at);
    return false;
  }
  if (has_event) return true;
  // All there is has been told.
  {
    absl::MutexLock lock(&mu_);
    sources_[source].catching_up = false;
  }
  SetPeer(source, absl::OkStatus());
  ring(source).WakeAll();
  return false;
}

void EventHub::SetPeer(Source source, const absl::Status& status) {
  {
    absl::MutexLock lock(&mu_);
    Peer& peer = sources_[source].peer;
    if (peer.version > 0 && peer.connected == status.ok() &&
        peer.reason == status.message()) {
      return;
    }
    ++peer.version;
    peer.connected = status.ok();
    peer.reason = std::string(status.message());
  }
  if (options_.on_peer != nullptr) {
    options_.on_peer(ServiceOf(source), status.ok());
  }
  if (status.ok()) {
    LogInfo("events of a service are watched",
            {{"service", ServiceOf(source)}});
  } else {
    LogWarning("events of a service cannot be watched",
               {{"service", ServiceOf(source)}, {"error", status}});
  }
  ring(source).WakeAll();
}

void EventHub::TookStream(const v1::WatchStreamsResponse& answer) {
  WatchPosition at;
  const bool has_event = Took(kStreams, answer.resume_token(), answer.reset(),
                              answer.has_stream(), &at);
  if (!has_event) {
    if (on_stream_ != nullptr) on_stream_(nullptr);
    return;
  }
  if (on_stream_ != nullptr) on_stream_(&answer);
  const v1::Stream& stream = answer.stream();
  const absl::Duration now = Clock::Real().SteadyNow();
  if (answer.deleted()) {
    sample_told_.erase(stream.stream_id());
  } else if (answer.sample()) {
    const auto [told, first] =
        sample_told_.try_emplace(stream.stream_id(), now);
    if (!first && now - told->second < options_.sample_interval) return;
    told->second = now;
  }
  Event event = {.name = answer.deleted() ? "stream_deleted" : "stream",
                 .camera_id = stream.camera_id(),
                 .json = ""};
  if (answer.deleted()) {
    event.json = absl::StrCat(
        "{\"stream_id\":", QuoteJson(stream.stream_id()),
        ",\"session_id\":", QuoteJson(stream.session_id()),
        ",\"camera_id\":", QuoteJson(stream.camera_id()),
        ",\"process_name\":", QuoteJson(stream.process_name()), "}");
  } else {
    event.json = ProtoToJson(stream);
  }
  ring(kStreams).AddAt(at.sequence, std::move(event), stream.stream_id(),
                       answer.sample());
}

void EventHub::RunStreams() {
  Run(kStreams, [this](const std::string& token) {
    v1::WatchStreamsRequest request;
    request.set_resume_token(token);
    request.set_replay(true);
    return clients_.WatchStreams(
        request,
        [this](const v1::WatchStreamsResponse& answer) { TookStream(answer); });
  });
}

void EventHub::RunRecords() {
  Run(kRecords, [this](const std::string& token) {
    v1::WatchRecordsRequest request;
    request.set_resume_token(token);
    request.set_replay(true);
    return clients_.WatchRecords(
        request, [this](const v1::WatchRecordsResponse& answer) {
          WatchPosition at;
          if (!Took(kRecords, answer.resume_token(), answer.reset(),
                    answer.has_record(), &at)) {
            return;
          }
          ring(kRecords).AddAt(at.sequence,
                               {.name = "record",
                                .camera_id = answer.record().camera_id(),
                                .json = ProtoToJson(answer.record())});
        });
  });
}

void EventHub::RunModels() {
  Run(kModels, [this](const std::string& token) {
    v1::WatchModelsRequest request;
    request.set_resume_token(token);
    request.set_replay(true);
    return clients_.WatchModels(
        request, [this](const v1::WatchModelsResponse& answer) {
          WatchPosition at;
          if (!Took(kModels, answer.resume_token(), answer.reset(),
                    answer.has_model(), &at)) {
            return;
          }
          ring(kModels).AddAt(at.sequence,
                              {.name = "model",
                               .camera_id = "",
                               .json = ProtoToJson(answer.model())},
                              answer.model().name(), /*replaceable=*/true);
        });
  });
}

}  // namespace camherd::gateway
