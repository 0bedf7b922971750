// SPDX-License-Identifier: Apache-2.0
#include "services/aggregator/page_token.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/status_matchers.h"

namespace camherd::aggregator {
namespace {

using ::camherd::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(PageTokenTest, GivesBackThePosition) {
  const std::string token = MakePageToken("filter", {"17", "3"});
  EXPECT_THAT(ReadPageToken(token, "filter", 2).value(),
              ElementsAre("17", "3"));
}

TEST(PageTokenTest, IsBoundToItsFilter) {
  EXPECT_THAT(
      ReadPageToken(MakePageToken("a", {"1"}), "b", 1),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("other filters")));
}

TEST(PageTokenTest, RefusesWhatIsNoToken) {
  for (const char* token : {"!", "abc", "MTIz"}) {
    EXPECT_THAT(
        ReadPageToken(token, "a", 1),
        StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("page_token")));
  }
  EXPECT_THAT(ReadPageToken(std::string(5000, 'a'), "a", 1),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST(PageTokenTest, ChecksThePageSize) {
  EXPECT_EQ(CheckPageSize(0, 50).value(), 50);
  EXPECT_EQ(CheckPageSize(7, 50).value(), 7);
  EXPECT_THAT(CheckPageSize(1001, 50),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("page_size must be in [0, 1000], got 1001")));
  EXPECT_THAT(CheckPageSize(-1, 50),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

}  // namespace
}  // namespace camherd::aggregator
