// SPDX-License-Identifier: Apache-2.0
#include "services/common/status_macros.h"

#include <gtest/gtest.h>

#include <memory>

#include "tests/support/status_matchers.h"

namespace camherd {
namespace {

using ::camherd::testing::StatusIs;

absl::Status ReturnIfError(const absl::Status& status, bool& reached) {
  CAMHERD_RETURN_IF_ERROR(status);
  reached = true;
  return absl::OkStatus();
}

absl::StatusOr<int> Sum(absl::StatusOr<std::unique_ptr<int>> a,
                        const absl::StatusOr<int>& b) {
  CAMHERD_ASSIGN_OR_RETURN(const std::unique_ptr<int> first, std::move(a));
  CAMHERD_ASSIGN_OR_RETURN(const int second, b);
  return *first + second;
}

TEST(StatusMacrosTest, ReturnIfErrorReturnsTheErrorAndPassesOk) {
  bool reached = false;
  EXPECT_THAT(ReturnIfError(absl::NotFoundError("x"), reached),
              StatusIs(absl::StatusCode::kNotFound, "x"));
  EXPECT_FALSE(reached);
  CAMHERD_EXPECT_OK(ReturnIfError(absl::OkStatus(), reached));
  EXPECT_TRUE(reached);
}

TEST(StatusMacrosTest, AssignOrReturnMovesTheValueOrReturnsTheError) {
  EXPECT_EQ(Sum(std::make_unique<int>(2), 3).value(), 5);
  EXPECT_THAT(Sum(absl::InternalError("a"), 3),
              StatusIs(absl::StatusCode::kInternal, "a"));
  EXPECT_THAT(Sum(std::make_unique<int>(2), absl::AbortedError("b")),
              StatusIs(absl::StatusCode::kAborted, "b"));
}

}  // namespace
}  // namespace camherd
