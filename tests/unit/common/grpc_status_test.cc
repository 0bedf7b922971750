// SPDX-License-Identifier: Apache-2.0
#include "services/common/grpc_status.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "services/common/retry_delay.h"
#include "tests/support/status_matchers.h"

namespace camherd {
namespace {

using ::camherd::testing::StatusIs;
using ::testing::EndsWith;

TEST(GrpcStatusTest, EveryCodeKeepsItsMeaningBothWays) {
  for (int code = 1; code <= 16; ++code) {
    const absl::Status status(static_cast<absl::StatusCode>(code), "why");
    const grpc::Status on_the_wire = ToGrpcStatus(status);
    EXPECT_EQ(on_the_wire.error_code(), code);
    EXPECT_EQ(FromGrpcStatus(on_the_wire), status);
  }
  EXPECT_EQ(ToGrpcStatus(absl::NotFoundError("x")).error_code(),
            grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(ToGrpcStatus(absl::UnauthenticatedError("x")).error_code(),
            grpc::StatusCode::UNAUTHENTICATED);
}

TEST(GrpcStatusTest, OkStaysOk) {
  EXPECT_TRUE(ToGrpcStatus(absl::OkStatus()).ok());
  CAMHERD_EXPECT_OK(FromGrpcStatus(grpc::Status::OK));
}

TEST(GrpcStatusTest, SecretsInAMessageDoNotReachTheWire) {
  EXPECT_EQ(ToGrpcStatus(
                absl::UnavailableError("cannot open rtsp://admin:canary@cam/1"))
                .error_message(),
            "cannot open rtsp://***:***@cam/1");
}

TEST(GrpcStatusTest, AMessageThatMetadataCannotCarryIsCut) {
  const std::string message =
      ToGrpcStatus(absl::InternalError(std::string(100000, 'x')))
          .error_message();
  EXPECT_LE(message.size(), 4000u);
  EXPECT_THAT(message, EndsWith("..."));
}

TEST(GrpcStatusTest, WithoutAContextThereIsNoRetryDelay) {
  const grpc::Status status = ToGrpcStatus(
      WithRetryDelay(absl::UnavailableError("away"), absl::Seconds(1)));
  const absl::Status back = FromGrpcStatus(status);
  EXPECT_THAT(back, StatusIs(absl::StatusCode::kUnavailable, "away"));
  EXPECT_FALSE(RetryDelay(back).has_value());
}

}  // namespace
}  // namespace camherd
