// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gmock/gmock.h>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

// The matchers of upstream Abseil that Debian's lacks.
namespace camherd::testing {

inline const absl::Status& GetStatus(const absl::Status& status) {
  return status;
}
template <typename T>
const absl::Status& GetStatus(const absl::StatusOr<T>& status_or) {
  return status_or.status();
}

MATCHER(IsOk, "") {
  *result_listener << GetStatus(arg);
  return GetStatus(arg).ok();
}

// StatusIs(code) and StatusIs(code, matcher of the message).
MATCHER_P2(StatusIs, code, message, "") {
  const absl::Status& status = GetStatus(arg);
  *result_listener << status;
  return status.code() == code &&
         ::testing::ExplainMatchResult(message, std::string(status.message()),
                                       result_listener);
}
inline auto StatusIs(absl::StatusCode code) {
  return StatusIs(code, ::testing::_);
}

}  // namespace camherd::testing

#define CAMHERD_ASSERT_OK(expr) ASSERT_THAT((expr), ::camherd::testing::IsOk())
#define CAMHERD_EXPECT_OK(expr) EXPECT_THAT((expr), ::camherd::testing::IsOk())
