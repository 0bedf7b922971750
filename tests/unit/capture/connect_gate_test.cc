// SPDX-License-Identifier: Apache-2.0
#include "services/capture/connect_gate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "services/common/clock.h"
#include "tests/support/fake_clock.h"

namespace camherd::capture {
namespace {

using ::camherd::testing::FakeClock;
using ::testing::ElementsAre;
using Kind = ConnectQueue::Kind;

class ConnectGateTest : public ::testing::Test {
 protected:
  void Start(const ConnectQueue::Options& options,
             Clock& clock = Clock::Real()) {
    gate_ = std::make_unique<ConnectGate>(
        options,
        [this](const ConnectQueue::News& news) {
          absl::MutexLock lock(&mu_);
          if (news.kind == Kind::kGranted) granted_.push_back(news.stream_id);
          if (news.kind == Kind::kNoSession) {
            refused_.push_back(absl::StrCat(news.stream_id, "@", news.host));
          }
        },
        clock);
  }
  void Want(const std::string& id, int64_t request = 1,
            const std::string& host = "h") {
    v1::FromWorker event;
    event.set_stream_id(id);
    event.mutable_connect_wanted()->set_request(request);
    event.mutable_connect_wanted()->set_host(host);
    gate_->OnEvent(event);
  }
  void Closed(const std::string& id, int64_t request = 1) {
    v1::FromWorker event;
    event.set_stream_id(id);
    event.mutable_connection_closed()->set_request(request);
    gate_->OnEvent(event);
  }
  void Ended(const std::string& id) {
    v1::FromWorker event;
    event.set_stream_id(id);
    event.mutable_ended();
    gate_->OnEvent(event);
  }
  bool AwaitGranted(size_t count) {
    absl::MutexLock lock(&mu_);
    const auto enough = [&] {
      mu_.AssertReaderHeld();
      return granted_.size() >= count;
    };
    return mu_.AwaitWithTimeout(absl::Condition(&enough), absl::Seconds(10));
  }
  bool AwaitRefused(size_t count) {
    absl::MutexLock lock(&mu_);
    const auto enough = [&] {
      mu_.AssertReaderHeld();
      return refused_.size() >= count;
    };
    return mu_.AwaitWithTimeout(absl::Condition(&enough), absl::Seconds(10));
  }

  FakeClock clock_;
  absl::Mutex mu_;
  std::vector<std::string> granted_ ABSL_GUARDED_BY(mu_);
  std::vector<std::string> refused_ ABSL_GUARDED_BY(mu_);
  std::unique_ptr<ConnectGate> gate_;
};

TEST_F(ConnectGateTest, GrantsInOrderAtTheRateWithoutBeingAskedAgain) {
  Start({.per_second = 20, .per_second_per_host = 20});
  const absl::Duration begin = Clock::Real().SteadyNow();
  for (const char* id : {"a", "b", "c", "d", "e"}) Want(id);
  ASSERT_TRUE(AwaitGranted(5));
  EXPECT_GE(Clock::Real().SteadyNow() - begin, absl::Milliseconds(199));
  absl::MutexLock lock(&mu_);
  EXPECT_THAT(granted_, ElementsAre("a", "b", "c", "d", "e"));
}

TEST_F(ConnectGateTest, ASessionIsFreeAfterItsCloseOrItsStreamsEnd) {
  Start({.per_second = 1000,
         .per_second_per_host = 1000,
         .sessions_per_host = 1});
  Want("a", 1, "NVR.example");
  ASSERT_TRUE(AwaitGranted(1));
  Want("b", 1, "nvr.example");
  Want("c", 1, "nvr.example");
  ASSERT_TRUE(AwaitRefused(2));
  Closed("a");
  ASSERT_TRUE(AwaitGranted(2));
  Ended("b");
  ASSERT_TRUE(AwaitGranted(3));
  absl::MutexLock lock(&mu_);
  EXPECT_THAT(granted_, ElementsAre("a", "b", "c"));
  EXPECT_THAT(refused_, ElementsAre("b@nvr.example", "c@nvr.example"));
}

TEST_F(ConnectGateTest, ARevokedStreamIsPassedOverAndKeepsItsSessionToTheEnd) {
  Start({.per_second = 1000,
         .per_second_per_host = 1000,
         .sessions_per_host = 1});
  for (const char* id : {"a", "b", "c"}) Want(id);
  ASSERT_TRUE(AwaitGranted(1));
  ASSERT_TRUE(AwaitRefused(2));
  gate_->OnRevoked("a");
  gate_->OnRevoked("b");
  EXPECT_EQ(gate_->waiting(), 1u);
  Ended("a");
  ASSERT_TRUE(AwaitGranted(2));
  absl::MutexLock lock(&mu_);
  EXPECT_THAT(granted_, ElementsAre("a", "c"));
}

TEST_F(ConnectGateTest, TimeIsTheClocks) {
  Start({.per_second = 20, .per_second_per_host = 20}, clock_);
  Want("a");
  Want("b");
  ASSERT_TRUE(AwaitGranted(1));
  clock_.Advance(absl::Seconds(1));
  Want("c");
  ASSERT_TRUE(AwaitGranted(2));
  EXPECT_EQ(gate_->waiting(), 1u);
}

TEST_F(ConnectGateTest, AfterStopThereAreNoNews) {
  Start({.per_second = 2, .per_second_per_host = 2});
  for (const char* id : {"a", "b"}) Want(id);
  ASSERT_TRUE(AwaitGranted(1));
  gate_->Stop();
  gate_->Stop();
  Want("c");
  absl::MutexLock lock(&mu_);
  EXPECT_THAT(granted_, ElementsAre("a"));
}

TEST_F(ConnectGateTest, OtherEventsAreNotItsBusiness) {
  Start({});
  v1::FromWorker event;
  event.set_stream_id("a");
  event.mutable_state();
  gate_->OnEvent(event);
  gate_->OnEvent(v1::FromWorker());
  EXPECT_EQ(gate_->waiting(), 0u);
}

}  // namespace
}  // namespace camherd::capture
