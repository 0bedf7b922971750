// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>

#include "absl/random/random.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "services/common/backoff.h"

namespace camherd::capture {

// When the next try to connect to a camera is due, by what the last one met:
//
// - The camera is away (refused, unreachable, silent, stalled, closed):
//   exponential with full jitter from `initial` up to `soon_max`, and from then
//   on up to a `kShareOfAbsence`-th of the time it has been away, at most
//   `max`. So a camera that comes back after ten minutes is found within
//   seconds, since no pause is longer than 1/120 of its absence; and one that
//   has gone for good costs two tries a minute. What many cameras that
//   are away at once cost in total is the connect gate's business.
// - It refuses another session (453, 455, 503): exponential with full jitter
//   up to `max`, since each try costs what it is short of.
// - Only a change at the camera or in the settings will cure it (401, 403, 404,
//   no video, codec, address, certificate): `slow` and up to a quarter more,
//   since cameras lock out those who hammer.
//
// A camera counts as away until it has been healthy again: one that answers and
// breaks off again and again is tried less and less often.
//
// Not thread-safe.
class ReconnectBackoff {
 public:
  static constexpr double kShareOfAbsence = 120;

  struct Options {
    absl::Duration initial = absl::Seconds(1);
    absl::Duration soon_max = absl::Seconds(5);
    absl::Duration max = absl::Seconds(60);
    absl::Duration slow = absl::Seconds(60);
  };

  explicit ReconnectBackoff(const Options& options);

  // The pause after a try, or a connection, that ended at `now` (steady clock)
  // with `code`, an error of PacketSource.
  absl::Duration Next(absl::StatusCode code, absl::Duration now);

  // The camera has been healthy, or is another one now.
  void Reset();

 private:
  const Options options_;
  Backoff away_;
  Backoff refused_;
  // Since when it has been away; nothing: it has not.
  std::optional<absl::Duration> away_since_;
  absl::BitGen random_;
};

}  // namespace camherd::capture
