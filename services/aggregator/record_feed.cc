// SPDX-License-Identifier: Apache-2.0
#include "services/aggregator/record_feed.h"

#include <chrono>
#include <utility>
#include <vector>

#include "services/common/log.h"

namespace camherd::aggregator {
namespace {

constexpr size_t kKept = 1024;
constexpr int kAtOnce = 32;
// After the store has failed.
constexpr std::chrono::seconds kRetry(5);

}  // namespace

RecordFeed::RecordFeed(RecordStore& store)
    : store_(store), ring_(kKept), last_record_id_(store.LastRecordId()) {
  thread_ = std::thread([this] { Run(); });
}

void RecordFeed::Wake() {
  {
    const std::lock_guard<std::mutex> lock(mu_);
    woken_ = true;
  }
  changed_.notify_one();
}

void RecordFeed::Stop() {
  {
    const std::lock_guard<std::mutex> lock(mu_);
    stopped_ = true;
  }
  changed_.notify_one();
  ring_.Close();
  if (thread_.joinable()) thread_.join();
}

void RecordFeed::Run() {
  while (true) {
    {
      std::unique_lock<std::mutex> lock(mu_);
      changed_.wait(lock, [this] { return woken_ || stopped_; });
      if (stopped_) return;
      woken_ = false;
    }
    ReadNew();
  }
}

void RecordFeed::ReadNew() {
  while (true) {
    absl::StatusOr<std::vector<StoredRecord>> records =
        store_.RecordsAfter({}, last_record_id_, kAtOnce);
    if (!records.ok()) {
      LogWarning("records not told to who watches",
                 {{"error", records.status()}});
      std::unique_lock<std::mutex> lock(mu_);
      woken_ = true;
      changed_.wait_for(lock, kRetry, [this] { return stopped_; });
      return;
    }
    if (records->empty()) return;
    for (StoredRecord& stored : *records) {
      last_record_id_ = stored.record.record_id();
      v1::WatchRecordsResponse event;
      *event.mutable_record() = std::move(stored.record);
      ring_.Add(std::move(event));
    }
  }
}

}  // namespace camherd::aggregator
