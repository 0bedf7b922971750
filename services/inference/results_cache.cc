// SPDX-License-Identifier: Apache-2.0
#include "services/inference/results_cache.h"

namespace camherd::inference {

std::optional<ResultsCache::Results> ResultsCache::Find(
    const Key& key, const std::string& digest) {
  absl::MutexLock lock(&mu_);
  const auto found = by_key_.find(key);
  if (found == by_key_.end() || found->second->digest != digest) {
    return std::nullopt;
  }
  entries_.splice(entries_.begin(), entries_, found->second);
  return found->second->results;
}

bool ResultsCache::Has(const Key& key, const std::string& digest) {
  absl::MutexLock lock(&mu_);
  const auto found = by_key_.find(key);
  return found != by_key_.end() && found->second->digest == digest;
}

void ResultsCache::Put(const Key& key, const std::string& digest,
                       Results results) {
  size_t bytes = sizeof(Entry);
  for (const auto& result : results) bytes += result.SpaceUsedLong();
  absl::MutexLock lock(&mu_);
  if (const auto found = by_key_.find(key); found != by_key_.end()) {
    bytes_ -= found->second->bytes;
    entries_.erase(found->second);
    by_key_.erase(found);
  }
  entries_.push_front({key, digest, std::move(results), bytes});
  by_key_[key] = entries_.begin();
  bytes_ += bytes;
  while (!entries_.empty() &&
         (entries_.size() > max_batches_ || bytes_ > max_bytes_)) {
    bytes_ -= entries_.back().bytes;
    by_key_.erase(entries_.back().key);
    entries_.pop_back();
  }
}

}  // namespace camherd::inference
