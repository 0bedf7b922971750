// SPDX-License-Identifier: Apache-2.0
#include "gateway/http_status.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/time/time.h"
#include "services/common/retry_delay.h"

namespace camherd::gateway {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::Pair;

TEST(HttpStatusTest, AnErrorHasCodeStatusMessageAndDetails) {
  const HttpResponse response =
      ErrorAnswer(absl::NotFoundError("no stream \"x\""));
  EXPECT_EQ(response.code, HttpCode::kNotFound);
  EXPECT_EQ(response.content_type, "application/json");
  EXPECT_EQ(response.body,
            "{\"error\":{\"code\":404,\"status\":\"NOT_FOUND\",\"message\":"
            "\"no stream \\\"x\\\"\",\"details\":[]}}\n");
}

TEST(HttpStatusTest, ARetryDelayBecomesRetryAfterRoundedUp) {
  const HttpResponse response = ErrorAnswer(
      WithRetryDelay(absl::UnavailableError("busy"), absl::Seconds(1.2)));
  EXPECT_THAT(response.headers, Contains(Pair("Retry-After", "2")));
}

TEST(HttpStatusTest, SecretsInMessagesAreMasked) {
  const HttpResponse response = ErrorAnswer(
      absl::InternalError("cannot open rtsp://admin:s3cret@10.0.0.1/a"));
  EXPECT_THAT(response.body, Not(HasSubstr("s3cret")));
}

TEST(HttpStatusTest, EachStatusCodeHasItsHttpCode) {
  EXPECT_EQ(ToHttpCode(absl::StatusCode::kInvalidArgument),
            HttpCode::kBadRequest);
  EXPECT_EQ(ToHttpCode(absl::StatusCode::kAlreadyExists), HttpCode::kConflict);
  EXPECT_EQ(ToHttpCode(absl::StatusCode::kFailedPrecondition),
            HttpCode::kConflict);
  EXPECT_EQ(ToHttpCode(absl::StatusCode::kUnavailable), HttpCode::kUnavailable);
  EXPECT_EQ(ToHttpCode(absl::StatusCode::kDeadlineExceeded),
            HttpCode::kGatewayTimeout);
  EXPECT_EQ(ToHttpCode(absl::StatusCode::kUnimplemented),
            HttpCode::kNotImplemented);
  EXPECT_EQ(ToHttpCode(absl::StatusCode::kResourceExhausted),
            HttpCode::kTooManyRequests);
  EXPECT_EQ(ToHttpCode(absl::StatusCode::kDataLoss), HttpCode::kInternalError);
}

TEST(HttpStatusTest, AHeaderValueCannotBreakItsLine) {
  HttpResponse response;
  response.headers = {{"X-A", "a\r\nSet-Cookie: b"}};
  const std::string bytes = Serialize(response, false);
  EXPECT_THAT(bytes, HasSubstr("X-A: aSet-Cookie: b\r\n"));
}

TEST(HttpStatusTest, EveryAnswerCarriesTheSecurityHeaders) {
  const std::string bytes = Serialize(HttpResponse(), false);
  EXPECT_THAT(bytes, HasSubstr("Content-Security-Policy: default-src 'none';"));
  EXPECT_THAT(bytes, Not(HasSubstr("unsafe")));
  EXPECT_THAT(bytes, HasSubstr("X-Content-Type-Options: nosniff"));
  EXPECT_THAT(bytes, HasSubstr("X-Frame-Options: DENY"));
}

TEST(HttpStatusTest, AMessageShowsCharactersThatDeceive) {
  const HttpResponse answer = ErrorAnswer(absl::InvalidArgumentError(
      "camera_id must be ..., got \"gate\u202e3\u2066\u0085\""));
  EXPECT_THAT(answer.body,
              HasSubstr(R"(gate\\xe2\\x80\\xae3\\xe2\\x81\\xa6\\xc2\\x85)"));
  EXPECT_THAT(ErrorAnswer(absl::InvalidArgumentError("द्वार 3 – ✓")).body,
              HasSubstr("द्वार 3 – ✓"));
}

}  // namespace
}  // namespace camherd::gateway
