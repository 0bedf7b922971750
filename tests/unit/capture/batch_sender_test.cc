// SPDX-License-Identifier: Apache-2.0
#include "services/capture/batch_sender.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <deque>
#include <functional>
#include <map>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "services/common/clock.h"
#include "services/common/retry_delay.h"

namespace camherd::capture {
namespace {

constexpr absl::Duration kPatience = absl::Seconds(20);

// Answers as scripted, then, without effect, that it is not yet time.
class FakePeer : public InferencePeer {
 public:
  absl::Status PrepareModel(const std::string&, absl::Duration) override {
    return absl::OkStatus();
  }

  BatchAnswer InferBatch(
      const OutgoingBatch&, absl::Duration,
      const std::function<absl::Status()>& before_last) override {
    BatchAnswer answer;
    {
      absl::MutexLock lock(&mu_);
      if (answers_.empty()) {
        answer.status = WithRetryDelay(absl::UnavailableError("not yet"),
                                       absl::Minutes(10));
        return answer;
      }
      answer = std::move(answers_.front());
      answers_.pop_front();
    }
    if (answer.sent_whole) before_last().IgnoreError();
    return answer;
  }

  void Cancel() override {}

  // The next batch goes whole and is answered so.
  void AnswerWhole(absl::Status status) {
    absl::MutexLock lock(&mu_);
    BatchAnswer answer;
    answer.status = std::move(status);
    answer.sent_whole = true;
    answers_.push_back(std::move(answer));
  }
  // A frame of the next batch cannot be read.
  void FailFile(const absl::Status& status) {
    absl::MutexLock lock(&mu_);
    BatchAnswer answer;
    answer.status = answer.file_error = status;
    answers_.push_back(std::move(answer));
  }

 private:
  absl::Mutex mu_;
  std::deque<BatchAnswer> answers_ ABSL_GUARDED_BY(mu_);
};

// Notes what it is told.
class FakeOwner : public BatchOwner {
 public:
  absl::StatusOr<OutgoingBatch> LoadBatch(const BatchKey&) override {
    return OutgoingBatch();
  }
  absl::Status SetFateUnknown(const BatchKey& key, bool unknown) override {
    absl::MutexLock lock(&mu_);
    fate_unknown_[key] = unknown;
    return absl::OkStatus();
  }
  absl::Status BatchRecorded(const BatchKey&,
                             const v1::InferBatchResponse&) override {
    absl::MutexLock lock(&mu_);
    ++recorded_;
    return absl::OkStatus();
  }
  absl::Status BatchDropped(const BatchKey& key, const std::string& reason,
                            const absl::Status&) override {
    absl::MutexLock lock(&mu_);
    dropped_[key] = reason;
    return absl::OkStatus();
  }
  void BatchDelayed(const BatchKey&, const absl::Status&,
                    absl::Duration) override {
    absl::MutexLock lock(&mu_);
    ++delayed_;
  }

  bool WaitForDelays(int count) {
    absl::MutexLock lock(&mu_);
    const auto enough = [&] {
      mu_.AssertReaderHeld();
      return delayed_ >= count;
    };
    return mu_.AwaitWithTimeout(absl::Condition(&enough), kPatience);
  }
  bool WaitForRecords(int count) {
    absl::MutexLock lock(&mu_);
    const auto enough = [&] {
      mu_.AssertReaderHeld();
      return recorded_ >= count;
    };
    return mu_.AwaitWithTimeout(absl::Condition(&enough), kPatience);
  }
  // Why it was dropped, once it was.
  std::string WaitForDrop(const BatchKey& key) {
    absl::MutexLock lock(&mu_);
    const auto dropped = [&] {
      mu_.AssertReaderHeld();
      return dropped_.count(key) > 0;
    };
    if (!mu_.AwaitWithTimeout(absl::Condition(&dropped), kPatience)) return "";
    return dropped_[key];
  }
  bool fate_unknown(const BatchKey& key) {
    absl::MutexLock lock(&mu_);
    return fate_unknown_[key];
  }

 private:
  absl::Mutex mu_;
  std::map<BatchKey, bool> fate_unknown_ ABSL_GUARDED_BY(mu_);
  std::map<BatchKey, std::string> dropped_ ABSL_GUARDED_BY(mu_);
  int recorded_ ABSL_GUARDED_BY(mu_) = 0;
  int delayed_ ABSL_GUARDED_BY(mu_) = 0;
};

// Its batches wait for minutes unless an answer says otherwise.
class BatchSenderTest : public ::testing::Test {
 protected:
  BatchSenderTest()
      : sender_({.concurrency = 2,
                 .queue = {.backoff = {absl::Minutes(10), absl::Minutes(10)}}},
                peer_, owner_, nullptr, Clock::Real()) {
    sender_.Start();
  }

  void Add(const BatchKey& key) {
    sender_.Add(key, absl::FromUnixSeconds(key.batch_seq), false);
  }

  static absl::Status Later(const absl::Status& status, absl::Duration delay) {
    return WithRetryDelay(status, delay);
  }

  const BatchKey key_ = {"session", 1};
  FakePeer peer_;
  FakeOwner owner_;
  BatchSender sender_;
};

TEST_F(BatchSenderTest, ABatchThatWasRefusedWithoutEffectMayBeDropped) {
  int64_t session = 0;
  for (const absl::StatusCode code :
       {absl::StatusCode::kUnavailable, absl::StatusCode::kResourceExhausted,
        absl::StatusCode::kFailedPrecondition,
        absl::StatusCode::kDeadlineExceeded}) {
    const BatchKey key = {std::to_string(++session), 1};
    peer_.AnswerWhole(
        WithoutEffect(Later(absl::Status(code, "no"), absl::Minutes(10))));
    Add(key);
    ASSERT_TRUE(owner_.WaitForDelays(static_cast<int>(session)));
    EXPECT_FALSE(owner_.fate_unknown(key)) << code;
    EXPECT_TRUE(sender_.Remove(key)) << code;
    EXPECT_FALSE(sender_.Remove(key)) << code;
  }
}

TEST_F(BatchSenderTest, ABatchThatMayBeRecordedIsNotGivenOutToBeDropped) {
  int64_t session = 0;
  for (const absl::StatusCode code :
       {absl::StatusCode::kUnavailable, absl::StatusCode::kResourceExhausted,
        absl::StatusCode::kDeadlineExceeded, absl::StatusCode::kCancelled}) {
    const BatchKey key = {std::to_string(++session), 1};
    peer_.AnswerWhole(Later(absl::Status(code, "lost"), absl::Minutes(10)));
    Add(key);
    ASSERT_TRUE(owner_.WaitForDelays(static_cast<int>(session)));
    EXPECT_TRUE(owner_.fate_unknown(key)) << code;
    EXPECT_FALSE(sender_.Remove(key)) << code;
  }
  EXPECT_EQ(sender_.pending(), 4u);
}

TEST_F(BatchSenderTest, ARefusalSaysNothingOfAnEarlierAttempt) {
  peer_.AnswerWhole(
      Later(absl::UnavailableError("lost"), absl::Milliseconds(1)));
  peer_.AnswerWhole(WithoutEffect(
      Later(absl::ResourceExhaustedError("full"), absl::Minutes(10))));
  Add(key_);
  ASSERT_TRUE(owner_.WaitForDelays(2));
  EXPECT_TRUE(owner_.fate_unknown(key_));
  EXPECT_FALSE(sender_.Remove(key_));
}

TEST_F(BatchSenderTest, AFileNoPeerTakesIsNotTriedAgain) {
  peer_.FailFile(absl::OutOfRangeError("more than 19 MiB"));
  Add(key_);
  EXPECT_EQ(owner_.WaitForDrop(key_), "model_error");
  sender_.Stop();
  EXPECT_EQ(sender_.pending(), 0u);
}

TEST_F(BatchSenderTest, AFileThatIsGoneIsCountedAsLost) {
  peer_.FailFile(absl::NotFoundError("no such file"));
  Add(key_);
  EXPECT_EQ(owner_.WaitForDrop(key_), "file_lost");
}

TEST_F(BatchSenderTest, SendsWhatIsAddedWhileItWaits) {
  Add(key_);
  ASSERT_TRUE(owner_.WaitForDelays(1));
  for (int i = 1; i <= 20; ++i) {
    peer_.AnswerWhole(absl::OkStatus());
    Add({"other", i});
    ASSERT_TRUE(owner_.WaitForRecords(i));
  }
}

}  // namespace
}  // namespace camherd::capture
