// SPDX-License-Identifier: Apache-2.0
#include "services/aggregator/jpeg_header.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "tests/support/status_matchers.h"
#include "tests/unit/aggregator/picture_testing.h"

namespace camherd::aggregator {
namespace {

using ::camherd::aggregator::testing::MakeJpeg;
using ::camherd::testing::IsOk;
using ::camherd::testing::StatusIs;
using ::testing::HasSubstr;

TEST(JpegHeaderTest, ReadsTheSizeOfARealJpeg) {
  const auto size = ReadJpegSize(MakeJpeg(321, 123, cv::Scalar::all(9)));
  ASSERT_THAT(size, IsOk());
  EXPECT_EQ(size->width, 321);
  EXPECT_EQ(size->height, 123);
}

TEST(JpegHeaderTest, RefusesABombByItsHeaderAlone) {
  const std::string bomb(
      "\xFF\xD8\xFF\xC0\x00\x0B\x08\xFF\xFF\xFF\xFF\x01\x01\x11\x00", 15);
  EXPECT_THAT(ReadJpegSize(bomb), StatusIs(absl::StatusCode::kInvalidArgument,
                                           HasSubstr("65535x65535")));
}

TEST(JpegHeaderTest, NoPrefixOfAJpegIsReadPastItsEnd) {
  const std::string jpeg = MakeJpeg(16, 16, cv::Scalar::all(9));
  for (size_t n = 0; n < jpeg.size(); ++n) {
    // A copy of its own, so that the sanitizer sees an overrun.
    const std::string prefix(jpeg, 0, n);
    ReadJpegSize(prefix).status().IgnoreError();
  }
  EXPECT_THAT(ReadJpegSize(""), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(ReadJpegSize("<html>"),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

}  // namespace
}  // namespace camherd::aggregator
