// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "camherd/v1/detection.pb.h"

namespace camherd::inference {

// The results of the last batches, so that a batch that comes again after a
// slow aggregator is not inferred again. Holds at most `max_batches` and
// `max_bytes`; the least recently used go first, at the cost of inferring them
// again.
//
// Thread-safe.
class ResultsCache {
 public:
  using Key = std::pair<std::string, int64_t>;  // session_id, batch_seq
  using Results = std::vector<camherd::v1::ModelResult>;

  ResultsCache(size_t max_batches, size_t max_bytes)
      : max_batches_(max_batches), max_bytes_(max_bytes) {}

  // Empty where there is none, or one of another digest.
  std::optional<Results> Find(const Key& key, const std::string& digest);
  bool Has(const Key& key, const std::string& digest);
  void Put(const Key& key, const std::string& digest, Results results);

 private:
  struct Entry {
    Key key;
    std::string digest;
    Results results;
    size_t bytes;
  };

  const size_t max_batches_;
  const size_t max_bytes_;
  absl::Mutex mu_;
  // Most recently used first.
  std::list<Entry> entries_ ABSL_GUARDED_BY(mu_);
  std::map<Key, std::list<Entry>::iterator> by_key_ ABSL_GUARDED_BY(mu_);
  size_t bytes_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace camherd::inference
