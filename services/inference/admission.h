// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <list>
#include <string>

#include "absl/time/time.h"

namespace camherd::inference {

// Says which batches may be in flight: so many, of so many bytes together.
//
// Nobody waits here. Who finds no room is refused, keeps the batch and comes
// back; and since the room would then belong to whoever asks most often, or for
// least, a stream that was refused has a ticket. Tickets are served in the
// order of the first refusals: what is free is kept for them before anyone
// else, as long as they come back within `patience`. A stream has one ticket,
// however many batches it sends.
//
// Not thread-safe.
class Admission {
 public:
  struct Options {
    int max_batches = 16;
    int64_t max_bytes = int64_t{256} << 20;
    absl::Duration patience = absl::Seconds(3);
  };

  explicit Admission(const Options& options) : options_(options) {}

  // True: `bytes` more are in flight until Leave. `now` never goes back.
  [[nodiscard]] bool Enter(const std::string& stream, int64_t bytes,
                           absl::Duration now);
  void Leave(int64_t bytes);

  int batches() const { return batches_; }
  int64_t bytes() const { return bytes_; }

 private:
  struct Ticket {
    std::string stream;
    int64_t bytes;
    absl::Duration valid_until;
  };

  const Options options_;
  int batches_ = 0;
  int64_t bytes_ = 0;
  // In the order in which they are served; at most kMaxTickets.
  std::list<Ticket> tickets_;
};

}  // namespace camherd::inference
