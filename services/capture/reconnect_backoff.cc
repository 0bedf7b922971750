// SPDX-License-Identifier: Apache-2.0
#include "services/capture/reconnect_backoff.h"

#include <algorithm>

namespace camherd::capture {
namespace {

constexpr double kSlowJitter = 1.25;

bool IsSlow(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kUnauthenticated:
    case absl::StatusCode::kNotFound:
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kUnimplemented:
    case absl::StatusCode::kPermissionDenied:
    case absl::StatusCode::kInvalidArgument:
      return true;
    default:
      return false;
  }
}

}  // namespace

ReconnectBackoff::ReconnectBackoff(const Options& options)
    : options_(options),
      away_({.initial = options.initial, .max = options.max}),
      refused_({.initial = options.initial, .max = options.max}) {}

absl::Duration ReconnectBackoff::Next(absl::StatusCode code,
                                      absl::Duration now) {
  if (!away_since_) away_since_ = now;
  if (IsSlow(code)) {
    return options_.slow * absl::Uniform(random_, 1.0, kSlowJitter);
  }
  if (code == absl::StatusCode::kResourceExhausted) return refused_.Next();
  const absl::Duration bound =
      std::max(options_.soon_max, (now - *away_since_) / kShareOfAbsence);
  return away_.Next(bound);
}

void ReconnectBackoff::Reset() {
  away_.Reset();
  refused_.Reset();
  away_since_.reset();
}

}  // namespace camherd::capture
