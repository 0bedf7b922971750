// SPDX-License-Identifier: Apache-2.0
#include "services/capture/send_queue.h"

#include <gtest/gtest.h>

#include <set>

#include "absl/strings/str_cat.h"
#include "services/common/retry_delay.h"

namespace camherd::capture {
namespace {

constexpr absl::Duration kNow = absl::Seconds(1000);

absl::Time At(int seconds) { return absl::FromUnixSeconds(seconds); }

SendQueue::Options Quick() {
  return {.backoff = {absl::Seconds(1), absl::Seconds(8)},
          .slow_retry = absl::Seconds(60)};
}

TEST(SendQueueTest, JudgesEachAnswerOfInferBatch) {
  EXPECT_EQ(Judge(absl::OkStatus()), Verdict::kRecorded);
  EXPECT_EQ(Judge(absl::UnavailableError("")), Verdict::kRetry);
  EXPECT_EQ(Judge(absl::ResourceExhaustedError("")), Verdict::kRetry);
  EXPECT_EQ(Judge(absl::FailedPreconditionError("")), Verdict::kRetrySlowly);
  EXPECT_EQ(Judge(absl::DataLossError("")), Verdict::kDropModelError);
  EXPECT_EQ(Judge(absl::InvalidArgumentError("")), Verdict::kDropModelError);
  EXPECT_EQ(Judge(absl::AlreadyExistsError("")), Verdict::kDropConflict);
  EXPECT_EQ(Judge(absl::DeadlineExceededError("")), Verdict::kRetryBatch);
  EXPECT_EQ(Judge(absl::InternalError("")), Verdict::kRetryBatch);
}

TEST(SendQueueTest, SendsTheNewestBatchOfAllStreamsFirst) {
  SendQueue queue(Quick());
  queue.Add({"a", 1}, At(10));
  queue.Add({"a", 2}, At(40));
  queue.Add({"b", 1}, At(30));
  EXPECT_EQ(queue.Take(kNow), (BatchKey{"a", 2}));
  EXPECT_EQ(queue.Take(kNow), (BatchKey{"b", 1}));
  queue.Settled({"a", 2});
  EXPECT_EQ(queue.Take(kNow), (BatchKey{"a", 1}));
}

TEST(SendQueueTest, HasOneBatchOfAStreamInFlight) {
  SendQueue queue(Quick());
  queue.Add({"a", 1}, At(10));
  queue.Add({"a", 2}, At(20));
  EXPECT_TRUE(queue.Take(kNow).has_value());
  EXPECT_FALSE(queue.Take(kNow).has_value());
  EXPECT_EQ(queue.NextAt(), absl::InfiniteDuration());
}

TEST(SendQueueTest, WaitsAsLongAsThePeerAsks) {
  SendQueue queue(Quick());
  queue.Add({"a", 1}, At(10));
  queue.Take(kNow);
  const absl::Duration pause = queue.Failed(
      {"a", 1}, Verdict::kRetry,
      WithRetryDelay(absl::UnavailableError(""), absl::Seconds(7)), kNow);
  EXPECT_GE(pause, absl::Seconds(7));
  EXPECT_LE(pause, 1.25 * absl::Seconds(7));
  EXPECT_FALSE(queue.Take(kNow + absl::Seconds(6)).has_value());
  EXPECT_EQ(queue.NextAt(), kNow + pause);
  EXPECT_TRUE(queue.Take(kNow + pause).has_value());
}

TEST(SendQueueTest, ThoseWhoAreRefusedTogetherDoNotComeBackTogether) {
  for (const Verdict verdict : {Verdict::kRetry, Verdict::kRetrySlowly}) {
    SendQueue queue(Quick());
    const absl::Status answer =
        verdict == Verdict::kRetry
            ? WithRetryDelay(absl::UnavailableError(""), absl::Seconds(7))
            : absl::FailedPreconditionError("");
    std::set<absl::Duration> pauses;
    for (int i = 0; i < 20; ++i) {
      const BatchKey key{absl::StrCat("stream", i), 1};
      queue.Add(key, At(10));
      queue.Take(kNow);
      pauses.insert(queue.Failed(key, verdict, answer, kNow));
    }
    EXPECT_EQ(pauses.size(), 20u);
  }
}

TEST(SendQueueTest, APeerThatAsksForNoPauseIsNotAskedInATightLoop) {
  SendQueue queue(Quick());
  queue.Add({"a", 1}, At(10));
  queue.Take(kNow);
  EXPECT_GE(queue.Failed({"a", 1}, Verdict::kRetry,
                         WithRetryDelay(absl::UnavailableError(""),
                                        absl::ZeroDuration()),
                         kNow),
            absl::Milliseconds(10));
}

TEST(SendQueueTest, BacksOffWhereThePeerNamesNoDelay) {
  SendQueue queue(Quick());
  queue.Add({"a", 1}, At(10));
  absl::Duration now = kNow;
  for (int i = 0; i < 8; ++i) {
    queue.Take(now);
    const absl::Duration pause = queue.Failed({"a", 1}, Verdict::kRetry,
                                              absl::UnavailableError(""), now);
    EXPECT_GT(pause, absl::ZeroDuration());
    EXPECT_LE(pause, std::min(absl::Seconds(8), absl::Seconds(1 << i)));
    now += pause;
  }
}

TEST(SendQueueTest, RetriesSlowlyWhileAllModelsAreFailed) {
  SendQueue queue(Quick());
  queue.Add({"a", 1}, At(10));
  queue.Take(kNow);
  const absl::Duration pause = queue.Failed(
      {"a", 1}, Verdict::kRetrySlowly, absl::FailedPreconditionError(""), kNow);
  EXPECT_GE(pause, absl::Seconds(60));
  EXPECT_LE(pause, absl::Seconds(75));
}

TEST(SendQueueTest, ABatchWithBadLuckDoesNotHoldUpItsStream) {
  SendQueue queue(Quick());
  queue.Add({"a", 1}, At(10));
  queue.Add({"a", 2}, At(20));
  EXPECT_EQ(queue.Take(kNow), (BatchKey{"a", 2}));
  queue.Failed({"a", 2}, Verdict::kRetryBatch, absl::InternalError(""), kNow);
  EXPECT_EQ(queue.Take(kNow), (BatchKey{"a", 1}));
}

TEST(SendQueueTest, APauseOfOneStreamLeavesOthersAlone) {
  SendQueue queue(Quick());
  queue.Add({"a", 1}, At(20));
  queue.Add({"b", 1}, At(10));
  queue.Take(kNow);
  queue.Failed({"a", 1}, Verdict::kRetry, absl::UnavailableError(""), kNow);
  EXPECT_EQ(queue.Take(kNow), (BatchKey{"b", 1}));
}

TEST(SendQueueTest, TakesOutWhatWaitsButNotWhatIsInFlight) {
  SendQueue queue(Quick());
  queue.Add({"a", 1}, At(10));
  queue.Add({"a", 2}, At(20));
  queue.Take(kNow);
  EXPECT_FALSE(queue.Remove({"a", 2}));
  EXPECT_TRUE(queue.Remove({"a", 1}));
  EXPECT_FALSE(queue.Remove({"a", 1}));
  EXPECT_EQ(queue.size(), 1u);
}

TEST(SendQueueTest, ForgetsASessionWithWhatItHasInFlight) {
  SendQueue queue(Quick());
  queue.Add({"a", 1}, At(10));
  queue.Take(kNow);
  queue.RemoveSession("a");
  queue.Settled({"a", 1});
  EXPECT_EQ(queue.size(), 0u);
}

}  // namespace
}  // namespace camherd::capture
