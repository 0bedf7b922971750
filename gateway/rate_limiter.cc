// SPDX-License-Identifier: Apache-2.0
#include "gateway/rate_limiter.h"

#include <algorithm>

namespace camherd::gateway {

absl::Duration RateLimiter::Take(absl::string_view client, absl::Duration now) {
  if (options_.per_second <= 0) return absl::ZeroDuration();
  const auto known = clients_.find(client);
  if (known != clients_.end()) {
    buckets_.splice(buckets_.begin(), buckets_, known->second);
  } else {
    if (clients_.size() >= options_.max_clients) {
      clients_.erase(buckets_.back().client);
      buckets_.pop_back();
    }
    buckets_.push_front({.client = std::string(client),
                         .tokens = options_.burst,
                         .filled_at = now});
    clients_.emplace(buckets_.front().client, buckets_.begin());
  }
  Bucket& bucket = buckets_.front();
  bucket.tokens =
      std::min(options_.burst,
               bucket.tokens + absl::ToDoubleSeconds(now - bucket.filled_at) *
                                   options_.per_second);
  bucket.filled_at = now;
  if (bucket.tokens < 1) {
    return absl::Seconds((1 - bucket.tokens) / options_.per_second);
  }
  bucket.tokens -= 1;
  return absl::ZeroDuration();
}

}  // namespace camherd::gateway
