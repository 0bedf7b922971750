// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace camherd::capture {

// Who may connect to a camera, and when: so many a second in total, fewer to
// one host, since many cameras may sit behind one recorder, and at most so many
// sessions with one host at once.
//
// Connects are spaced evenly, without bursts, and 5 % wider than the rate would
// have it: so in no second there are more than it says, also where they arrive.
// To one host the first that asked is the first to go; over all
// hosts the one that has asked for longest among those whose host may be
// connected to. So nobody starves, but for those whose host has no session
// left: they wait for another to end.
//
// A session lasts from its grant to Close; a stream has one request at a time,
// and at most as many are open as there are streams. Every call costs
// O(log n), TakeNews that for each piece of news.
//
// Not thread-safe; time is the caller's steady clock and never goes back.
class ConnectQueue {
 public:
  struct Options {
    // Connects per second, > 0.
    double per_second = 20;
    double per_second_per_host = 2;
    // Sessions at once with one host; 0: no limit.
    int sessions_per_host = 0;
  };

  enum class Kind {
    // It may connect now, and has a session.
    kGranted,
    // It waits for its turn.
    kWaits,
    // It waits for a session with its host to end.
    kNoSession,
  };
  struct News {
    std::string stream_id;
    int64_t request = 0;
    std::string host;
    Kind kind = Kind::kWaits;
  };

  explicit ConnectQueue(const Options& options);

  // The stream wants to connect; takes the place of its earlier request, whose
  // session, if it has one, is over. With the same host one that waits keeps
  // its place.
  void Want(absl::string_view stream_id, int64_t request,
            absl::string_view host);
  // That request's session is over, or none is wanted any more. Another one's
  // number, and an unknown stream, change nothing.
  void Close(absl::string_view stream_id, int64_t request);
  // Nothing more will come of the stream: whatever it has open is over.
  void Forget(absl::string_view stream_id);
  // As Forget, but a session goes on until it is closed.
  void StopWaiting(absl::string_view stream_id);

  // What has changed by `now`, each once: grants, and of those that go on
  // waiting what for, where it is not what was told before.
  std::vector<News> TakeNews(absl::Duration now);

  // When TakeNews may have more to say although nobody called;
  // InfiniteDuration: never.
  absl::Duration NextAt() const;

  size_t waiting() const { return waiting_; }
  int64_t sessions() const { return sessions_; }

 private:
  struct Host {
    // By order of asking.
    std::map<int64_t, std::string> waiting;
    // Of those, the ones that were told that they wait for their turn.
    std::set<int64_t> hopeful;
    int sessions = 0;
    // No connect before.
    absl::Duration next = -absl::InfiniteDuration();
    // Keys in ready_ and pausing_, where it is in one of them.
    int64_t ready_key = 0;
    std::optional<absl::Duration> pausing_key;
  };
  // A std::map, since iterators into it are stable.
  using Hosts = std::map<std::string, Host>;
  struct Stream {
    Hosts::iterator host;
    int64_t request = 0;
    // Place in the host's queue; 0: it has a session.
    int64_t place = 0;
  };
  using Streams = absl::flat_hash_map<std::string, Stream>;

  bool HasRoom(const Host& host) const;
  void Remove(Streams::iterator stream);
  void TakeFromQueue(Host& host, int64_t place);
  // Puts the host where it belongs after a change, or away if nothing is left
  // of it.
  void Sort(Hosts::iterator host);
  void Grant(std::vector<News>& news);

  const Options options_;
  const absl::Duration gap_;
  const absl::Duration host_gap_;
  absl::Duration now_ = -absl::InfiniteDuration();
  absl::Duration next_ = -absl::InfiniteDuration();
  int64_t last_place_ = 0;
  size_t waiting_ = 0;
  int64_t sessions_ = 0;
  Hosts hosts_;
  Streams streams_;
  // Hosts with room where a stream waits, by the place of the first.
  std::map<int64_t, Hosts::iterator> ready_;
  // Hosts that may not be connected to before a time.
  std::set<std::pair<absl::Duration, std::string>> pausing_;
  // Places that have not been told anything.
  std::map<int64_t, Hosts::iterator> untold_;
};

}  // namespace camherd::capture
