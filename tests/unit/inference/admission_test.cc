// SPDX-License-Identifier: Apache-2.0
#include "services/inference/admission.h"

#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"

namespace camherd::inference {
namespace {

constexpr absl::Duration kNow = absl::Seconds(1000);

TEST(AdmissionTest, HoldsSoManyBatchesAndBytes) {
  Admission admission({.max_batches = 2, .max_bytes = 100});
  EXPECT_TRUE(admission.Enter("a", 60, kNow));
  EXPECT_FALSE(admission.Enter("a", 41, kNow));
  EXPECT_TRUE(admission.Enter("a", 40, kNow));
  EXPECT_FALSE(admission.Enter("a", 0, kNow));
  EXPECT_EQ(admission.batches(), 2);
  EXPECT_EQ(admission.bytes(), 100);
  admission.Leave(60);
  EXPECT_EQ(admission.batches(), 1);
  EXPECT_EQ(admission.bytes(), 40);
  EXPECT_TRUE(admission.Enter("a", 60, kNow));
}

TEST(AdmissionTest, AStreamThatAsksAllTheTimeDoesNotKeepAnotherOut) {
  Admission admission({.max_batches = 1, .max_bytes = 100});
  ASSERT_TRUE(admission.Enter("greedy", 1, kNow));
  EXPECT_FALSE(admission.Enter("modest", 1, kNow));
  admission.Leave(1);
  // Free, but not for it.
  EXPECT_FALSE(admission.Enter("greedy", 1, kNow));
  EXPECT_TRUE(admission.Enter("modest", 1, kNow + absl::Seconds(1)));
  admission.Leave(1);
  EXPECT_TRUE(admission.Enter("greedy", 1, kNow + absl::Seconds(1)));
}

TEST(AdmissionTest, SmallBatchesDoNotKeepALargeOneOut) {
  Admission admission({.max_batches = 100, .max_bytes = 100});
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(admission.Enter("small", 10, kNow));
  EXPECT_FALSE(admission.Enter("large", 90, kNow));
  for (int left = 10; left > 1; --left) {
    EXPECT_FALSE(admission.Enter("small", 10, kNow));
    EXPECT_FALSE(admission.Enter("large", 90, kNow));
    admission.Leave(10);
  }
  EXPECT_TRUE(admission.Enter("large", 90, kNow));
}

TEST(AdmissionTest, WhatIsFreeBeyondTheTicketsIsForAnyone) {
  Admission admission({.max_batches = 3, .max_bytes = 100});
  for (const char* stream : {"a", "b", "c"}) {
    ASSERT_TRUE(admission.Enter(stream, 1, kNow));
  }
  EXPECT_FALSE(admission.Enter("d", 1, kNow));
  admission.Leave(1);
  EXPECT_FALSE(admission.Enter("a", 1, kNow));
  // One for d, one for a, none for b.
  admission.Leave(1);
  EXPECT_FALSE(admission.Enter("b", 1, kNow));
  EXPECT_TRUE(admission.Enter("a", 1, kNow));
  EXPECT_TRUE(admission.Enter("d", 1, kNow));
}

TEST(AdmissionTest, EveryStreamGetsItsShareOfABusyService) {
  Admission admission({.max_batches = 4, .max_bytes = 1000});
  // Stream 0 asks ten times as often as the others.
  std::vector<int> entered(10, 0);
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(admission.Enter("0", 10, kNow));
  for (int second = 0; second < 100; ++second) {
    const absl::Duration now = kNow + absl::Seconds(second);
    // One batch ends a second.
    admission.Leave(10);
    for (int i = 0; i < 10; ++i) entered[0] += admission.Enter("0", 10, now);
    for (int stream = 1; stream < 10; ++stream) {
      entered[stream] += admission.Enter(absl::StrCat(stream), 10, now);
    }
  }
  // Stream 0 was the first to come, too.
  for (int stream = 0; stream < 10; ++stream) {
    EXPECT_NEAR(entered[stream], 10, 2) << "stream " << stream;
  }
}

TEST(AdmissionTest, AStreamThatDoesNotComeBackLosesItsPlace) {
  Admission admission(
      {.max_batches = 1, .max_bytes = 100, .patience = absl::Seconds(3)});
  ASSERT_TRUE(admission.Enter("a", 1, kNow));
  EXPECT_FALSE(admission.Enter("gone", 1, kNow));
  admission.Leave(1);
  EXPECT_FALSE(admission.Enter("b", 1, kNow + absl::Seconds(2.9)));
  EXPECT_TRUE(admission.Enter("b", 1, kNow + absl::Seconds(3.1)));
}

}  // namespace
}  // namespace camherd::inference
