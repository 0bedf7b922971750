// SPDX-License-Identifier: Apache-2.0
#include "gateway/event_listener.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "services/common/proto_json.h"

namespace camherd::gateway {
namespace {

constexpr EventHub::Source kAll[] = {EventHub::kStreams, EventHub::kRecords,
                                     EventHub::kModels};
// What is told at once; more when that is taken.
constexpr size_t kPieceBytes = 64 << 10;
// After which a browser whose connection broke comes back, milliseconds.
constexpr int kRetryMs = 2000;

const char* TypeOf(EventHub::Source source) {
  switch (source) {
    case EventHub::kStreams:
      return "stream";
    case EventHub::kRecords:
      return "record";
    case EventHub::kModels:
      return "model";
  }
  return "";
}

}  // namespace

EventListener::EventListener(EventHub& hub, Filter filter,
                             LiveCount::Place place)
    : hub_(hub), filter_(std::move(filter)), place_(std::move(place)) {}

std::shared_ptr<EventListener> EventListener::Make(
    EventHub& hub, Filter filter, absl::string_view last_event_id,
    LiveCount::Place place) {
  std::shared_ptr<EventListener> made(
      new EventListener(hub, std::move(filter), std::move(place)));
  const std::vector<std::string> tokens = absl::StrSplit(last_event_id, '_');
  for (const EventHub::Source source : kAll) {
    if (last_event_id.empty()) {
      // Where nothing is known of the service yet, it will be told to begin
      // anew.
      if (!hub.catching_up(source)) {
        const EventHub::Ring& ring = hub.ring(source);
        made->replaying_[source] = made->filter_.replay;
        made->at_[source] =
            made->filter_.replay ? ring.Oldest() : ring.Newest();
      }
    } else if (tokens.size() == EventHub::kSources) {
      made->at_[source] =
          WatchPosition::Parse(tokens[source]).value_or(WatchPosition());
    }
    made->listening_[source] =
        *hub.ring(source).Listen([listener = std::weak_ptr(made)] {
          if (const auto self = listener.lock()) self->Wake();
        });
  }
  return made;
}

EventListener::~EventListener() {
  for (const EventHub::Source source : kAll) {
    hub_.ring(source).Unlisten(listening_[source]);
  }
}

std::string EventListener::Id() const {
  return absl::StrCat("id: ", at_[0].ToToken(), "_", at_[1].ToToken(), "_",
                      at_[2].ToToken(), "\n");
}

bool EventListener::Tell(EventHub::Source source, std::string* out) {
  if (!filter_.sources[source]) return false;
  // The peer comes after what is replayed, and so tells where that ends.
  if (replaying_[source]) {
    if (TellEvent(source, out)) return true;
    replaying_[source] = false;
  }
  if (const EventHub::Peer peer = hub_.peer(source);
      peer.version != peer_told_[source]) {
    peer_told_[source] = peer.version;
    absl::StrAppend(out, "event: peer\n", Id(), "data: {\"service\":\"",
                    EventHub::ServiceOf(source),
                    "\",\"connected\":", peer.connected ? "true" : "false",
                    ",\"reason\":", QuoteJson(peer.reason), "}\n\n");
    return true;
  }
  return TellEvent(source, out);
}

bool EventListener::TellEvent(EventHub::Source source, std::string* out) {
  if (hub_.catching_up(source)) return false;
  const auto item = hub_.ring(source).Read(&at_[source]);
  if (!item.has_value()) return false;
  if (item->reset) {
    absl::StrAppend(out, "event: reset\n", Id(), "data: {\"type\":\"",
                    TypeOf(source), "\",\"service\":\"",
                    EventHub::ServiceOf(source), "\"}\n\n");
  } else if (const EventHub::Event& event = *item->event;
             event.camera_id.empty() || !filter_.cameras.has_value() ||
             filter_.cameras->count(event.camera_id) > 0) {
    absl::StrAppend(out, "event: ", event.name, "\n", Id(),
                    "data: ", event.json, "\n\n");
  }
  return true;
}

std::optional<std::string> EventListener::Next() {
  std::string out;
  if (!std::exchange(begun_, true)) {
    out = absl::StrCat("retry: ", kRetryMs, "\n", Id(), "\n");
  }
  for (bool more = true; more && out.size() < kPieceBytes;) {
    more = false;
    for (const EventHub::Source source : kAll) more |= Tell(source, &out);
  }
  return out;
}

std::string EventListener::Idle() {
  // Without data it is no event, but the browser keeps the id.
  return absl::StrCat(": all is quiet\n", Id(), "\n");
}

}  // namespace camherd::gateway
