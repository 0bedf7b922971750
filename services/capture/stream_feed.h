// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "camherd/v1/capture_service.pb.h"
#include "services/common/event_ring.h"

namespace camherd::capture {

// Makes events of what changes about streams, for WatchStreams. Whoever may
// have changed something says so and goes on; a thread of the feed's reads the
// stream and finds out what became of it: changes that come together are one
// event, and what is as before is none.
//
// Lifecycle: constructed -> Start -> Changed ... -> Stop (the destructor
// stops). Thread-safe.
class StreamFeed {
 public:
  using Ring = EventRing<v1::WatchStreamsResponse>;
  // A stream as it is now; std::nullopt: there is none of that id.
  using ReadFn = std::function<std::optional<v1::Stream>(const std::string&)>;

  explicit StreamFeed(ReadFn read);
  ~StreamFeed() { Stop(); }

  void Start();
  // What is known to whoever reads the list for the first time.
  void Know(const v1::Stream& stream);
  // Something may have changed, or a sample or a counter only.
  void Changed(const std::string& stream_id);
  void Counted(const std::string& stream_id);
  // As Changed, if it has by the look of `stream`, which need not have its
  // accounting: for what changes with nobody to say so.
  void LookAt(const v1::Stream& stream);
  // Ends the watches too. May be called twice.
  void Stop();

  Ring& ring() { return ring_; }

 private:
  void Run();
  void Tell(const std::string& stream_id, bool counted);

  const ReadFn read_;
  Ring ring_;
  std::thread thread_;

  mutable absl::Mutex mu_;
  // What is to be looked at; true: its counters too.
  std::map<std::string, bool> marked_ ABSL_GUARDED_BY(mu_);
  // What was told last of each stream, without its counters.
  std::map<std::string, std::string> told_ ABSL_GUARDED_BY(mu_);
  bool stopped_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace camherd::capture
