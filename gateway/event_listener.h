// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "absl/strings/string_view.h"
#include "gateway/event_hub.h"
#include "gateway/live_body.h"
#include "gateway/live_count.h"
#include "services/common/watch_position.h"

namespace camherd::gateway {

// What one who listens hears: the events of the hub after its positions, as
// text/event-stream (WHATWG HTML §9.2). An id holds the positions in all
// sources, those of events that were filtered out too.
//
// As LiveBody.
class EventListener : public LiveBody {
 public:
  struct Filter {
    std::array<bool, EventHub::kSources> sources = {true, true, true};
    // Without: of all cameras. What belongs to no camera is always told.
    std::optional<std::set<std::string>> cameras;
    // Without an id: from the oldest that is kept on, instead of from now on.
    bool replay = false;
  };

  // `last_event_id`: where it was; empty: as the filter says. `hub` must
  // outlive it.
  static std::shared_ptr<EventListener> Make(EventHub& hub, Filter filter,
                                             absl::string_view last_event_id,
                                             LiveCount::Place place);
  ~EventListener() override;

  std::optional<std::string> Next() override;
  std::string Idle() override;

 private:
  EventListener(EventHub& hub, Filter filter, LiveCount::Place place);

  std::string Id() const;
  // Appends the next of that source, if there is something.
  bool Tell(EventHub::Source source, std::string* out);
  bool TellEvent(EventHub::Source source, std::string* out);

  EventHub& hub_;
  const Filter filter_;
  const LiveCount::Place place_;
  bool begun_ = false;
  std::array<WatchPosition, EventHub::kSources> at_;
  // What is kept has not been told to its end.
  std::array<bool, EventHub::kSources> replaying_ = {};
  // Of the peer, as it was told last.
  std::array<int64_t, EventHub::kSources> peer_told_ = {-1, -1, -1};
  std::array<int64_t, EventHub::kSources> listening_ = {};
};

}  // namespace camherd::gateway
