// SPDX-License-Identifier: Apache-2.0
#include "services/common/time_proto.h"

#include <gtest/gtest.h>

#include "absl/time/time.h"

namespace camherd {
namespace {

TEST(TimeProtoTest, RoundTripsToTheNanosecond) {
  for (const absl::Time time :
       {absl::UnixEpoch(), absl::FromUnixNanos(1785578100123456789),
        absl::FromUnixNanos(-1500000000),
        absl::FromUnixSeconds(253402300799)}) {
    EXPECT_EQ(FromProto(ToProto(time)), time) << time;
  }
}

TEST(TimeProtoTest, BeforeTheEpochTheNanosecondsStillCountUp) {
  const google::protobuf::Timestamp timestamp =
      ToProto(absl::FromUnixMillis(-1500));
  EXPECT_EQ(timestamp.seconds(), -2);
  EXPECT_EQ(timestamp.nanos(), 500000000);
}

TEST(TimeProtoTest, WhatATimestampCannotHoldIsCutToItsRange) {
  EXPECT_EQ(ToProto(absl::InfiniteFuture()).seconds(), 253402300799);
  EXPECT_EQ(ToProto(absl::InfinitePast()).seconds(), -62135596800);
}

TEST(TimeProtoTest, FormatsInUtcWithMilliseconds) {
  EXPECT_EQ(FormatRfc3339(absl::FromUnixMillis(1785579300123)),
            "2026-08-01T10:15:00.123Z");
  EXPECT_EQ(FormatRfc3339(absl::UnixEpoch()), "1970-01-01T00:00:00.000Z");
}

}  // namespace
}  // namespace camherd
