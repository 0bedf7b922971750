// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "gateway/backend_clients.h"
#include "services/common/event_ring.h"
#include "services/common/watch_position.h"

namespace camherd::gateway {

// What the three services tell of changes, for all who listen: one watch of
// each service, however many listen, and a copy of its newest events under the
// service's own positions. A gateway that was restarted asks for all that the
// services keep, so who listened to the one before goes on where it was.
//
// A watch that ends is begun again where it stood; meanwhile the service is
// away, with the reason.
//
// Lifecycle: constructed -> Start -> Stop, after BackendClients::Cancel.
// Thread-safe.
class EventHub {
 public:
  // In the order of `sources`.
  enum Source { kStreams, kRecords, kModels };
  static constexpr size_t kSources = 3;

  struct Event {
    // The name of the event, see README.md.
    std::string name;
    // Empty: of no camera.
    std::string camera_id;
    std::string json;
  };
  using Ring = EventRing<Event>;

  struct Peer {
    // Changes with each change.
    int64_t version = 0;
    bool connected = false;
    // Why not.
    std::string reason;
  };

  struct Options {
    // Between two tries to watch a service.
    absl::Duration retry = absl::Milliseconds(500);
    // Samples of a stream are told as often.
    absl::Duration sample_interval = absl::Seconds(1);
    // Called on any thread when a service can be watched, and when it no longer
    // can; may be null.
    std::function<void(const char* service, bool connected)> on_peer = {};
  };
  // A stream's news as capture tells them, or nothing, where all may have
  // changed. Called from one thread; must not block.
  using OnStream = std::function<void(const v1::WatchStreamsResponse*)>;

  // `clients` must outlive the hub.
  EventHub(const Options& options, BackendClients& clients);
  ~EventHub() { Stop(); }

  // `on_stream` may be null.
  void Start(OnStream on_stream);
  void Stop();

  Ring& ring(Source source) { return sources_[source].ring; }
  // "capture", "aggregator", "inference".
  static const char* ServiceOf(Source source);
  Peer peer(Source source) const;
  // What the service told before is being copied: positions are not to be
  // compared now.
  bool catching_up(Source source) const;

 private:
  struct Watched {
    explicit Watched(size_t kept) : ring(kept, WatchPosition()) {}

    // Nowhere yet.
    Ring ring;
    bool catching_up = true;
    Peer peer;
    std::thread thread;
  };
  // Watches `source` until Stop. `watch` begins one after a token and returns
  // how it ended.
  void Run(Source source,
           const std::function<absl::Status(const std::string&)>& watch);
  void RunStreams();
  void RunRecords();
  void RunModels();
  // An answer of a watch without its event; true: it has one, at `position`.
  bool Took(Source source, const std::string& token, bool reset, bool has_event,
            WatchPosition* position);
  void TookStream(const v1::WatchStreamsResponse& answer);
  void SetPeer(Source source, const absl::Status& status);

  const Options options_;
  BackendClients& clients_;
  OnStream on_stream_;
  // Of the streams' thread: when a sample of a stream was told last.
  std::map<std::string, absl::Duration> sample_told_;

  std::mutex stop_mu_;
  std::condition_variable stop_changed_;
  bool stopped_ = false;  // Guarded by stop_mu_.

  mutable absl::Mutex mu_;
  // Rings are thread-safe by themselves, the rest is guarded by mu_.
  // As many events as the service keeps.
  std::array<Watched, kSources> sources_ = {Watched(4096), Watched(1024),
                                            Watched(256)};
};

}  // namespace camherd::gateway
