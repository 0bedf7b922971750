// SPDX-License-Identifier: Apache-2.0
#include "services/common/retry_delay.h"

#include <gtest/gtest.h>

#include <optional>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace camherd {
namespace {

TEST(RetryDelayTest, ComesBackAsItWasAttached) {
  const absl::Status status = WithRetryDelay(absl::UnavailableError("building"),
                                             absl::Milliseconds(2500));
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(status.message(), "building");
  EXPECT_EQ(RetryDelay(status), absl::Milliseconds(2500));
}

TEST(RetryDelayTest, IsAbsentWhereNoneWasAttached) {
  EXPECT_EQ(RetryDelay(absl::UnavailableError("away")), std::nullopt);
  EXPECT_EQ(RetryDelay(absl::OkStatus()), std::nullopt);
}

TEST(RetryDelayTest, ALaterOneReplacesAnEarlierOne) {
  absl::Status status =
      WithRetryDelay(absl::UnavailableError("away"), absl::Seconds(1));
  status = WithRetryDelay(status, absl::Seconds(2));
  EXPECT_EQ(RetryDelay(status), absl::Seconds(2));
}

TEST(RetryDelayTest, StandsBesideTheMarkOfACallWithoutEffect) {
  const absl::Status status = absl::UnavailableError("away");
  EXPECT_FALSE(HadNoEffect(status));
  const absl::Status marked =
      WithoutEffect(WithRetryDelay(status, absl::Seconds(1)));
  EXPECT_TRUE(HadNoEffect(marked));
  EXPECT_EQ(RetryDelay(marked), absl::Seconds(1));
  EXPECT_EQ(marked.message(), "away");
}

TEST(RetryDelayTest, IsNeverNegative) {
  EXPECT_EQ(RetryDelay(WithRetryDelay(absl::UnavailableError("away"),
                                      -absl::Seconds(1))),
            absl::ZeroDuration());
}

}  // namespace
}  // namespace camherd
