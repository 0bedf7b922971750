// SPDX-License-Identifier: Apache-2.0
#include "services/inference/batch_gatherer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <thread>
#include <vector>

#include "absl/synchronization/notification.h"
#include "services/common/clock.h"
#include "tests/support/status_matchers.h"

namespace camherd::inference {
namespace {

using ::camherd::testing::StatusIs;
using ::testing::Each;
using ::testing::ElementsAre;
using Job = BatchGatherer::Job;
using Jobs = std::vector<std::unique_ptr<Job>>;

Jobs MakeJobs(int count, InputSize input = {640, 384}) {
  Jobs jobs;
  for (int i = 0; i < count; ++i) {
    jobs.push_back(std::make_unique<Job>());
    jobs.back()->input = input;
  }
  return jobs;
}

constexpr absl::Duration kMinute = absl::Minutes(1);

// Notes the batches it is given, and holds the first until it is let go.
class Device {
 public:
  absl::Status Run(absl::Span<Job* const> jobs) {
    {
      absl::MutexLock lock(&mu_);
      sizes_.push_back(static_cast<int>(jobs.size()));
      inputs_.push_back(jobs.front()->input.width);
    }
    if (!entered.HasBeenNotified()) {
      entered.Notify();
      go_on.WaitForNotification();
    }
    for (Job* const job : jobs) job->boxes.resize(1);
    return status;
  }
  std::vector<int> sizes() {
    absl::MutexLock lock(&mu_);
    return sizes_;
  }
  std::vector<int> inputs() {
    absl::MutexLock lock(&mu_);
    return inputs_;
  }

  absl::Notification entered;
  absl::Notification go_on;
  absl::Status status;

 private:
  absl::Mutex mu_;
  std::vector<int> sizes_;
  std::vector<int> inputs_;
};

class BatchGathererTest : public ::testing::Test {
 protected:
  std::unique_ptr<BatchGatherer> Make(int max_batch, absl::Duration delay) {
    return std::make_unique<BatchGatherer>(
        max_batch, delay,
        [this](absl::Span<Job* const> jobs) { return device_.Run(jobs); });
  }
  // One picture, so that the device is at work while others are submitted.
  static void Submit(BatchGatherer& gatherer, const Jobs& jobs) {
    for (const auto& job : jobs) gatherer.Submit(*job);
  }

  Device device_;
};

TEST_F(BatchGathererTest, GathersWhatSeveralCallsSubmitWhileTheDeviceWorks) {
  const auto gatherer = Make(4, absl::ZeroDuration());
  const Jobs first = MakeJobs(1);
  Submit(*gatherer, first);
  device_.entered.WaitForNotification();
  const Jobs one = MakeJobs(3);
  const Jobs other = MakeJobs(3);
  Submit(*gatherer, one);
  Submit(*gatherer, other);
  EXPECT_EQ(gatherer->waiting(), 6);
  device_.go_on.Notify();
  CAMHERD_EXPECT_OK(gatherer->Finish(one, kMinute));
  CAMHERD_EXPECT_OK(gatherer->Finish(other, kMinute));
  EXPECT_THAT(device_.sizes(), ElementsAre(1, 4, 2));
  EXPECT_EQ(other[2]->boxes.size(), 1);
}

TEST_F(BatchGathererTest, AFullBatchDoesNotWaitForTheDelay) {
  device_.go_on.Notify();
  const auto gatherer = Make(2, absl::Hours(1));
  const Jobs jobs = MakeJobs(2);
  Submit(*gatherer, jobs);
  CAMHERD_EXPECT_OK(gatherer->Finish(jobs, kMinute));
  EXPECT_THAT(device_.sizes(), ElementsAre(2));
}

TEST_F(BatchGathererTest, ABatchThatIsNotFullWaitsForTheDelayOnly) {
  device_.go_on.Notify();
  const auto gatherer = Make(100, absl::Milliseconds(30));
  const absl::Duration start = Clock::Real().SteadyNow();
  const Jobs jobs = MakeJobs(2);
  Submit(*gatherer, jobs);
  CAMHERD_EXPECT_OK(gatherer->Finish(jobs, kMinute));
  EXPECT_GE(Clock::Real().SteadyNow() - start, absl::Milliseconds(30));
  EXPECT_THAT(device_.sizes(), ElementsAre(2));
}

TEST_F(BatchGathererTest, ABatchIsOfOneInputSizeAndTheOldestGoesFirst) {
  const auto gatherer = Make(8, absl::ZeroDuration());
  const Jobs first = MakeJobs(1);
  Submit(*gatherer, first);
  device_.entered.WaitForNotification();
  const Jobs wide = MakeJobs(2, {640, 384});
  const Jobs square = MakeJobs(2, {416, 416});
  gatherer->Submit(*wide[0]);
  gatherer->Submit(*square[0]);
  gatherer->Submit(*wide[1]);
  gatherer->Submit(*square[1]);
  device_.go_on.Notify();
  CAMHERD_EXPECT_OK(gatherer->Finish(wide, kMinute));
  CAMHERD_EXPECT_OK(gatherer->Finish(square, kMinute));
  EXPECT_THAT(device_.sizes(), ElementsAre(1, 2, 2));
  EXPECT_THAT(device_.inputs(), ElementsAre(640, 640, 416));
}

TEST_F(BatchGathererTest, TakesBackWhatIsNotRunInTime) {
  const auto gatherer = Make(1, absl::ZeroDuration());
  const Jobs first = MakeJobs(1);
  Submit(*gatherer, first);
  device_.entered.WaitForNotification();
  const Jobs late = MakeJobs(2);
  const auto memory = std::make_shared<int>(1);
  late[0]->memory = memory;
  Submit(*gatherer, late);
  EXPECT_THAT(gatherer->Finish(late, absl::Milliseconds(5)),
              StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_EQ(memory.use_count(), 1);
  EXPECT_EQ(gatherer->waiting(), 0);
  device_.go_on.Notify();
  CAMHERD_EXPECT_OK(gatherer->Finish(first, kMinute));
  EXPECT_THAT(device_.sizes(), ElementsAre(1));
}

TEST_F(BatchGathererTest, LetsGoOfTheMemoryBeforeTheCallIsFinished) {
  device_.go_on.Notify();
  const auto gatherer = Make(1, absl::ZeroDuration());
  const Jobs jobs = MakeJobs(2);
  const auto memory = std::make_shared<int>(1);
  for (const auto& job : jobs) job->memory = memory;
  Submit(*gatherer, jobs);
  CAMHERD_EXPECT_OK(gatherer->Finish(jobs, kMinute));
  EXPECT_EQ(memory.use_count(), 1);
}

TEST_F(BatchGathererTest, AFailureOfTheDeviceIsEverysInItsBatch) {
  device_.go_on.Notify();
  device_.status = absl::FailedPreconditionError("the GPU is gone");
  const auto gatherer = Make(2, absl::Hours(1));
  const Jobs jobs = MakeJobs(2);
  Submit(*gatherer, jobs);
  EXPECT_THAT(gatherer->Finish(jobs, kMinute),
              StatusIs(absl::StatusCode::kFailedPrecondition));
}

TEST_F(BatchGathererTest, StopEndsWhatWaits) {
  const auto gatherer = Make(1, absl::ZeroDuration());
  const Jobs first = MakeJobs(1);
  Submit(*gatherer, first);
  device_.entered.WaitForNotification();
  const Jobs waiting = MakeJobs(2);
  Submit(*gatherer, waiting);
  std::thread stopper([&] { gatherer->Stop(); });
  device_.go_on.Notify();
  const absl::Status status = gatherer->Finish(waiting, kMinute);
  stopper.join();
  // The first may still have been taken before the stop was seen.
  EXPECT_TRUE(status.ok() || absl::IsUnavailable(status)) << status;
  const Jobs late = MakeJobs(1);
  Submit(*gatherer, late);
  EXPECT_THAT(gatherer->Finish(late, kMinute),
              StatusIs(absl::StatusCode::kUnavailable));
}

TEST_F(BatchGathererTest, ManyCallersAreAllAnswered) {
  device_.go_on.Notify();
  const auto gatherer = Make(5, absl::Microseconds(100));
  std::vector<std::thread> callers;
  std::vector<int> found(8);
  for (int& count : found) {
    callers.emplace_back([&] {
      for (int round = 0; round < 50; ++round) {
        const Jobs jobs = MakeJobs(1 + round % 7, {round % 2 == 0 ? 640 : 416});
        Submit(*gatherer, jobs);
        ASSERT_TRUE(gatherer->Finish(jobs, kMinute).ok());
        for (const auto& job : jobs) {
          count += static_cast<int>(job->boxes.size());
        }
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_THAT(found, Each(found.front()));
  EXPECT_THAT(device_.sizes(), Each(::testing::Le(5)));
}

}  // namespace
}  // namespace camherd::inference
