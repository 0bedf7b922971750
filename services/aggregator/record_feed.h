// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>

#include "camherd/v1/aggregator_service.pb.h"
#include "services/aggregator/record_store.h"
#include "services/common/event_ring.h"

namespace camherd::aggregator {

// Makes events of the records that are committed, in order of commit, for
// WatchRecords. It reads them back from the store on a thread of its own, so
// that no commit waits for it.
//
// Lifecycle: constructed -> Wake after commits -> Stop (the destructor stops).
// Thread-safe.
class RecordFeed {
 public:
  using Ring = EventRing<v1::WatchRecordsResponse>;

  // `store` must outlive the feed. What is in it already makes no event.
  explicit RecordFeed(RecordStore& store);
  ~RecordFeed() { Stop(); }

  // There is a record that was not there before.
  void Wake();
  // Ends the watches too. May be called twice.
  void Stop();

  Ring& ring() { return ring_; }

 private:
  void Run();
  // Makes events of what is new.
  void ReadNew();

  RecordStore& store_;
  Ring ring_;
  // The thread's.
  int64_t last_record_id_;

  std::mutex mu_;
  std::condition_variable changed_;
  bool woken_ = false;    // Guarded by mu_.
  bool stopped_ = false;  // Guarded by mu_.
  std::thread thread_;
};

}  // namespace camherd::aggregator
