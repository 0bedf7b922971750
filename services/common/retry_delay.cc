// SPDX-License-Identifier: Apache-2.0
#include "services/common/retry_delay.h"

#include <cstdint>
#include <string>

#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace camherd {
namespace {

// Payload: milliseconds as decimal digits.
constexpr absl::string_view kTypeUrl = "camherd/retry-delay-ms";
// Its payload is empty.
constexpr absl::string_view kNoEffectUrl = "camherd/no-effect";

}  // namespace

absl::Status WithRetryDelay(absl::Status status, absl::Duration delay) {
  const int64_t ms =
      absl::ToInt64Milliseconds(std::max(delay, absl::ZeroDuration()));
  status.SetPayload(kTypeUrl, absl::Cord(absl::StrCat(ms)));
  return status;
}

std::optional<absl::Duration> RetryDelay(const absl::Status& status) {
  const auto payload = status.GetPayload(kTypeUrl);
  int64_t ms = 0;
  if (!payload.has_value() || !absl::SimpleAtoi(std::string(*payload), &ms)) {
    return std::nullopt;
  }
  return absl::Milliseconds(ms);
}

absl::Status WithoutEffect(absl::Status status) {
  status.SetPayload(kNoEffectUrl, absl::Cord());
  return status;
}

bool HadNoEffect(const absl::Status& status) {
  return status.GetPayload(kNoEffectUrl).has_value();
}

}  // namespace camherd
