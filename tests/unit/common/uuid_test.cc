// SPDX-License-Identifier: Apache-2.0
#include "services/common/uuid.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>

#include "absl/time/time.h"

namespace camherd {
namespace {

using ::testing::MatchesRegex;
using ::testing::StartsWith;

TEST(UuidTest, HasTheFormOfVersion7) {
  EXPECT_THAT(MakeUuid7(absl::FromUnixMillis(1785578100123)),
              MatchesRegex("[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab]"
                           "[0-9a-f]{3}-[0-9a-f]{12}"));
}

TEST(UuidTest, BeginsWithTheMillisecondsOfTheExampleInTheStandard) {
  // RFC 9562, appendix A.6.
  EXPECT_THAT(MakeUuid7(absl::FromUnixMillis(0x017F22E279B0)),
              StartsWith("017f22e2-79b0-7"));
}

TEST(UuidTest, SortsByTimeAlsoWithinAMillisecond) {
  std::string last;
  for (int i = 0; i < 2000; ++i) {
    const std::string id = MakeUuid7(absl::FromUnixMillis(1785578100123) +
                                     i * absl::Microseconds(1));
    EXPECT_LT(last, id);
    last = id;
  }
}

TEST(UuidTest, NoTwoAreTheSameInTheSameInstant) {
  std::set<std::string> ids;
  for (int i = 0; i < 1000; ++i) ids.insert(MakeUuid7(absl::UnixEpoch()));
  EXPECT_EQ(ids.size(), 1000u);
}

TEST(UuidTest, ATimeBeforeTheEpochStillMakesOne) {
  EXPECT_THAT(MakeUuid7(absl::UnixEpoch() - absl::Hours(1)),
              StartsWith("00000000-0000-7000-"));
}

}  // namespace
}  // namespace camherd
