// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <list>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace camherd::gateway {

// How many requests a client may send: a token bucket for each.
//
// The table is bounded: past `max_clients` the one that has been silent for
// longest is forgotten, and begins with a full bucket if it comes back. Who
// has that many addresses is not held back by a limit for each of them anyway.
//
// Not thread-safe.
class RateLimiter {
 public:
  struct Options {
    // Requests a second, in the long run. Zero: no limit.
    double per_second = 0;
    // Requests at once after a silence. Range: at least 1.
    double burst = 200;
    size_t max_clients = 4096;
  };

  explicit RateLimiter(const Options& options) : options_(options) {}

  // Takes a token of `client`. Zero if there was one, else the time until there
  // is. REQUIRES: `now` never goes back (steady clock).
  absl::Duration Take(absl::string_view client, absl::Duration now);

  size_t clients() const { return clients_.size(); }

 private:
  struct Bucket {
    std::string client;
    double tokens = 0;
    absl::Duration filled_at;
  };

  const Options options_;
  // The one that has been silent for longest comes last.
  std::list<Bucket> buckets_;
  absl::flat_hash_map<std::string, std::list<Bucket>::iterator> clients_;
};

}  // namespace camherd::gateway
