// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/strings/cord.h"
#include "absl/strings/string_view.h"

// A failed status may carry a hint: what a person can do about it, apart from
// the message, which says what is wrong.
namespace camherd::inference {

inline constexpr char kHintPayload[] = "camherd.dev/hint";

inline absl::Status WithHint(absl::Status status, absl::string_view hint) {
  if (!status.ok() && !hint.empty()) {
    status.SetPayload(kHintPayload, absl::Cord(hint));
  }
  return status;
}

// Empty where there is none.
inline std::string HintOf(const absl::Status& status) {
  const auto payload = status.GetPayload(kHintPayload);
  return payload.has_value() ? std::string(*payload) : std::string();
}

}  // namespace camherd::inference
