// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "services/common/watch_position.h"

namespace camherd {

// The newest events of a service, for any number of readers, each of which
// holds a position and asks for what comes after it: no reader has a queue of
// its own, so a slow one costs no memory and holds up nobody. What is older
// than the newest `capacity` events is dropped; a reader that stood before that
// is told to begin anew (`reset`).
//
// An event that is `replaceable` goes when a newer one of its key comes, which
// says all it said: who comes back later reads the newest one only. This is no
// loss and no reset.
//
// A ring may be the copy of one in another process (Restart, AddAt): the
// positions of readers hold for both.
//
// Not for what must not be lost: positions end with the process.
// Thread-safe.
template <typename Event>
class EventRing {
 public:
  struct Item {
    // The reader reads anew what it watches, and goes on from its position,
    // which has been set.
    bool reset = false;
    // Null with `reset`. shared_ptr: the ring may drop it at any time.
    std::shared_ptr<const Event> event = nullptr;
  };
  using WakeFn = std::function<void()>;

  // `at` with an empty boot: a copy that knows nothing yet.
  explicit EventRing(size_t capacity,
                     WatchPosition at = WatchPosition::NewRun())
      : capacity_(capacity),
        boot_(std::move(at.boot)),
        dropped_(at.sequence),
        newest_(at.sequence) {}

  void Add(Event event, const std::string& key = "", bool replaceable = false)
      ABSL_LOCKS_EXCLUDED(mu_) {
    {
      absl::MutexLock lock(&mu_);
      Put(newest_ + 1, std::move(event), key, replaceable);
    }
    WakeAll();
  }

  // The copy of event `sequence`, which is newer than all before.
  void AddAt(int64_t sequence, Event event, const std::string& key = "",
             bool replaceable = false) ABSL_LOCKS_EXCLUDED(mu_) {
    {
      absl::MutexLock lock(&mu_);
      if (sequence <= newest_) return;
      Put(sequence, std::move(event), key, replaceable);
    }
    WakeAll();
  }

  // The copy holds what comes after `at` only.
  void Restart(WatchPosition at) ABSL_LOCKS_EXCLUDED(mu_) {
    {
      absl::MutexLock lock(&mu_);
      boot_ = std::move(at.boot);
      dropped_ = newest_ = at.sequence;
      events_.clear();
      replaceable_.clear();
    }
    WakeAll();
  }

  // What comes after `position`, which it moves; std::nullopt: nothing yet. A
  // position beyond the newest event is one that a copy has not reached yet.
  std::optional<Item> Read(WatchPosition* position) ABSL_LOCKS_EXCLUDED(mu_) {
    absl::MutexLock lock(&mu_);
    if (boot_.empty()) return std::nullopt;
    if (position->boot != boot_ || position->sequence < dropped_) {
      *position = {.boot = boot_, .sequence = newest_};
      return Item{.reset = true};
    }
    const auto next = events_.upper_bound(position->sequence);
    if (next == events_.end()) return std::nullopt;
    position->sequence = next->first;
    return Item{.event = next->second.event};
  }

  // After the newest event, and before the oldest.
  WatchPosition Newest() const ABSL_LOCKS_EXCLUDED(mu_) {
    absl::MutexLock lock(&mu_);
    return {.boot = boot_, .sequence = newest_};
  }
  WatchPosition Oldest() const ABSL_LOCKS_EXCLUDED(mu_) {
    absl::MutexLock lock(&mu_);
    return {.boot = boot_, .sequence = dropped_};
  }

  // Calls `wake`, on any thread, after each change; it must not block, and may
  // still be called once after Unlisten. std::nullopt: there are `most`
  // already.
  std::optional<int64_t> Listen(WakeFn wake, size_t most = SIZE_MAX)
      ABSL_LOCKS_EXCLUDED(mu_) {
    absl::MutexLock lock(&mu_);
    if (listeners_.size() >= most) return std::nullopt;
    listeners_[next_listener_] = std::make_shared<WakeFn>(std::move(wake));
    return next_listener_++;
  }
  void Unlisten(int64_t id) ABSL_LOCKS_EXCLUDED(mu_) {
    // Destroyed without the lock.
    std::shared_ptr<WakeFn> removed;
    absl::MutexLock lock(&mu_);
    const auto found = listeners_.find(id);
    if (found == listeners_.end()) return;
    removed = std::move(found->second);
    listeners_.erase(found);
  }
  bool watched() const ABSL_LOCKS_EXCLUDED(mu_) {
    absl::MutexLock lock(&mu_);
    return !listeners_.empty();
  }

  // The service stops: readers are to leave.
  void Close() ABSL_LOCKS_EXCLUDED(mu_) {
    {
      absl::MutexLock lock(&mu_);
      closed_ = true;
    }
    WakeAll();
  }
  bool closed() const ABSL_LOCKS_EXCLUDED(mu_) {
    absl::MutexLock lock(&mu_);
    return closed_;
  }

  // Wakes the listeners.
  void WakeAll() ABSL_LOCKS_EXCLUDED(mu_) {
    std::vector<std::shared_ptr<WakeFn>> listeners;
    {
      absl::MutexLock lock(&mu_);
      listeners.reserve(listeners_.size());
      for (const auto& [id, wake] : listeners_) listeners.push_back(wake);
    }
    for (const auto& wake : listeners) (*wake)();
  }

 private:
  struct Kept {
    std::shared_ptr<const Event> event;
    // Of a replaceable one.
    std::string key;
  };

  void Put(int64_t sequence, Event event, const std::string& key,
           bool replaceable) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    newest_ = sequence;
    if (!key.empty()) {
      if (const auto old = replaceable_.find(key); old != replaceable_.end()) {
        events_.erase(old->second);
        replaceable_.erase(old);
      }
      if (replaceable) replaceable_[key] = sequence;
    }
    events_[sequence] = {
        .event = std::make_shared<const Event>(std::move(event)),
        .key = replaceable ? key : ""};
    while (events_.size() > capacity_) {
      const auto oldest = events_.begin();
      dropped_ = oldest->first;
      if (!oldest->second.key.empty()) replaceable_.erase(oldest->second.key);
      events_.erase(oldest);
    }
  }

  const size_t capacity_;

  mutable absl::Mutex mu_;
  std::string boot_ ABSL_GUARDED_BY(mu_);
  // Number of the newest event that was dropped, and of the newest at all.
  int64_t dropped_ ABSL_GUARDED_BY(mu_);
  int64_t newest_ ABSL_GUARDED_BY(mu_);
  std::map<int64_t, Kept> events_ ABSL_GUARDED_BY(mu_);
  // The replaceable one of each key.
  std::map<std::string, int64_t> replaceable_ ABSL_GUARDED_BY(mu_);
  bool closed_ ABSL_GUARDED_BY(mu_) = false;
  // shared_ptr: a call may still run when its listener is taken away.
  std::map<int64_t, std::shared_ptr<WakeFn>> listeners_ ABSL_GUARDED_BY(mu_);
  int64_t next_listener_ ABSL_GUARDED_BY(mu_) = 1;
};

}  // namespace camherd
