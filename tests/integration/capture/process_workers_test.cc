// SPDX-License-Identifier: Apache-2.0
// Worker processes that crash, hang and are killed, with scripted cameras.
#include "services/capture/process_workers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "services/capture/worker_process.h"
#include "services/common/file.h"
#include "tests/support/grant_of.h"
#include "tests/support/temp_dir.h"

namespace camherd::capture {
namespace {

using ::camherd::testing::GrantOf;
using ::camherd::testing::TempDir;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::SizeIs;

constexpr absl::Duration kPatience = absl::Seconds(60);

// Processes that this one has started and that have not been waited for.
std::vector<pid_t> Children() {
  std::vector<pid_t> pids;
  for (const auto& task :
       std::filesystem::directory_iterator("/proc/self/task")) {
    std::ifstream children(task.path() / "children");
    for (pid_t pid = 0; children >> pid;) pids.push_back(pid);
  }
  return pids;
}

int OpenDescriptors() {
  int count = 0;
  for ([[maybe_unused]] const auto& fd :
       std::filesystem::directory_iterator("/proc/self/fd")) {
    ++count;
  }
  return count;
}

class ProcessWorkersTest : public ::testing::Test {
 protected:
  ProcessWorkersTest() {
    options_.worker.argv = {CAMHERD_SCRIPTED_WORKER};
    options_.processes = 1;
    StreamWorker::Options worker;
    worker.decode_threads = 1;
    worker.connect_timeout = absl::Milliseconds(100);
    worker.stall_timeout = absl::Milliseconds(100);
    worker.hang_after = absl::Seconds(3);
    ToProto(worker, options_.worker.config);
    options_.worker.config.set_log_level("info");
  }

  void Start() {
    workers_ = std::make_unique<ProcessWorkers>(
        options_, [this](const v1::FromWorker& event) { OnEvent(event); },
        Clock::Real());
  }

  void TearDown() override {
    // One that is assigned while they stop has no end.
    EXPECT_TRUE(WaitFor([this] {
      return std::all_of(seen_.begin(), seen_.end(), [](const auto& seen) {
        return seen.second.assigned > seen.second.lost.size();
      });
    }));
    if (workers_ != nullptr) workers_->Stop();
    EXPECT_THAT(Children(), SizeIs(0));
    absl::MutexLock lock(&mu_);
    for (const auto& [id, seen] : seen_) EXPECT_TRUE(seen.ended) << id;
  }

  // As a supervisor does: what is lost is assigned again at once.
  void OnEvent(const v1::FromWorker& event) {
    const std::string& id = event.stream_id();
    if (event.has_connect_wanted()) workers_->Send(GrantOf(event));
    {
      absl::MutexLock lock(&mu_);
      Seen& seen = seen_[id];
      if (event.has_state()) seen.state = event.state();
      if (event.has_sample()) {
        ++seen.samples;
        seen.next_seq = event.sample().frame().frame_seq() + 1;
      }
      if (!event.has_ended()) return;
      if (!event.ended().lost()) {
        seen.ended = true;
        return;
      }
      seen.lost.push_back(event.ended());
    }
    Assign(id);
  }

  void Assign(const std::string& id) {
    v1::ToWorker message;
    v1::AssignStream& assign = *message.mutable_assign();
    assign.set_stream_id(id);
    assign.set_session_id("session");
    assign.set_interval_seconds(0.1);
    assign.set_sampling_mode(v1::SAMPLING_MODE_KEYFRAME);
    assign.set_spool_dir(dir_ / id);
    {
      absl::MutexLock lock(&mu_);
      assign.set_url(seen_[id].url);
      assign.set_next_frame_seq(seen_[id].next_seq);
    }
    ASSERT_TRUE(MakeDirs(dir_ / id).ok());
    workers_->Send(message);
    absl::MutexLock lock(&mu_);
    ++seen_[id].assigned;
  }
  // `script`: see scripted_worker.cc.
  void Assign(const std::string& id, const std::string& script) {
    {
      absl::MutexLock lock(&mu_);
      seen_[id].url = absl::StrCat("rtsp://127.0.0.1/", script);
    }
    Assign(id);
  }
  void Revoke(const std::string& id) {
    v1::ToWorker message;
    message.mutable_revoke()->set_stream_id(id);
    workers_->Send(message);
  }
  std::string Once(const std::string& script) {
    return absl::StrCat(script, "?once=", dir_ / script);
  }

  struct Seen {
    std::string url;
    int64_t next_seq = 1;
    size_t assigned = 0;
    v1::StateChanged state;
    int samples = 0;
    std::vector<v1::StreamEnded> lost;
    bool ended = false;
  };
  bool WaitFor(const std::function<bool()>& done) {
    absl::MutexLock lock(&mu_);
    return mu_.AwaitWithTimeout(absl::Condition(&done), kPatience);
  }
  // More pictures of the stream than there are now.
  bool WaitForMore(const std::string& id, int more = 3) {
    int before = 0;
    {
      absl::MutexLock lock(&mu_);
      before = seen_[id].samples;
    }
    return WaitFor([&] { return seen_[id].samples >= before + more; });
  }
  Seen Of(const std::string& id) {
    absl::MutexLock lock(&mu_);
    return seen_[id];
  }

  TempDir dir_;
  ProcessWorkers::Options options_;
  absl::Mutex mu_;
  std::map<std::string, Seen> seen_;
  std::unique_ptr<ProcessWorkers> workers_;
};

TEST_F(ProcessWorkersTest, StreamsRunInProcessesAndEndWhenRevoked) {
  options_.processes = 2;
  Start();
  for (const char* id : {"a", "b", "c", "d"}) Assign(id, "ok");
  for (const char* id : {"a", "b", "c", "d"}) EXPECT_TRUE(WaitForMore(id));
  EXPECT_THAT(Children(), SizeIs(2));
  EXPECT_EQ(workers_->stats().processes, 2);
  EXPECT_GT(workers_->stats().memory_bytes, 1 << 20);
  // A clock tick at least.
  for (int i = 0; i < 1000 && workers_->stats().cpu_seconds == 0; ++i) {
    ASSERT_TRUE(WaitForMore("a"));
  }
  EXPECT_GT(workers_->stats().cpu_seconds, 0);
  Revoke("b");
  EXPECT_TRUE(WaitFor([this] { return seen_["b"].ended; }));
  EXPECT_TRUE(WaitForMore("a"));
  EXPECT_TRUE(workers_->stats().lost.empty());
}

TEST_F(ProcessWorkersTest, AfterAKillTheStreamsGoOnWithinFiveSeconds) {
  options_.processes = 2;
  Start();
  for (const char* id : {"a", "b", "c", "d"}) Assign(id, "ok");
  for (const char* id : {"a", "b", "c", "d"}) ASSERT_TRUE(WaitForMore(id));
  const pid_t victim = Children().front();
  const absl::Duration killed = Clock::Real().SteadyNow();
  kill(victim, SIGKILL);
  ASSERT_TRUE(WaitFor([this] {
    size_t lost = 0;
    for (const auto& [id, seen] : seen_) lost += seen.lost.size();
    return lost == 2;
  }));
  for (const char* id : {"a", "b", "c", "d"}) ASSERT_TRUE(WaitForMore(id, 1));
  const absl::Duration away = Clock::Real().SteadyNow() - killed;
  EXPECT_LT(away, absl::Seconds(5));
  printf("all went on after %.2f s\n", absl::ToDoubleSeconds(away));
  for (const char* id : {"a", "b", "c", "d"}) {
    const Seen seen = Of(id);
    if (seen.lost.empty()) continue;
    EXPECT_THAT(seen.lost[0].reason(), HasSubstr("Killed"));
    EXPECT_EQ(seen.lost[0].quarantine_seconds(), 0);
  }
  EXPECT_EQ(workers_->stats().lost["killed"], 1);
  EXPECT_EQ(workers_->stats().quarantined, 0);
}

TEST_F(ProcessWorkersTest, TheStreamThatCrashedItIsAloneUntilItHasBehaved) {
  options_.quarantine = absl::Seconds(4);
  Start();
  Assign("good", "ok");
  ASSERT_TRUE(WaitForMore("good"));
  Assign("bad", Once("crash"));
  ASSERT_TRUE(WaitFor([this] { return !seen_["bad"].lost.empty(); }));
  ASSERT_TRUE(WaitForMore("bad"));
  ASSERT_TRUE(WaitForMore("good"));
  EXPECT_THAT(Children(), SizeIs(2));
  EXPECT_EQ(workers_->stats().quarantined, 1);
  EXPECT_THAT(Of("bad").lost[0].reason(),
              AllOf(HasSubstr("at work on it"), HasSubstr("signal 11")));
  EXPECT_GT(Of("bad").lost[0].quarantine_seconds(), 3);
  EXPECT_EQ(Of("good").lost[0].quarantine_seconds(), 0);
  // It behaves: back to the others, whom that does not disturb.
  ASSERT_TRUE(WaitFor([this] { return seen_["bad"].lost.size() == 2; }));
  EXPECT_THAT(Of("bad").lost[1].reason(), HasSubstr("leaves its quarantine"));
  EXPECT_EQ(Of("bad").lost[1].quarantine_seconds(), 0);
  ASSERT_TRUE(WaitForMore("bad"));
  EXPECT_THAT(Of("good").lost, SizeIs(1));
  EXPECT_EQ(workers_->stats().quarantined, 0);
  EXPECT_EQ(workers_->stats().lost["crashed"], 1);
}

TEST_F(ProcessWorkersTest, OneThatCrashesEachTimeDisturbsNobodyAfterTheFirst) {
  options_.restart_initial = absl::Milliseconds(200);
  Start();
  Assign("good", "ok");
  ASSERT_TRUE(WaitForMore("good"));
  Assign("bad", "throw");
  ASSERT_TRUE(WaitFor([this] { return seen_["bad"].lost.size() >= 4; }));
  ASSERT_TRUE(WaitForMore("good"));
  EXPECT_THAT(Of("good").lost, SizeIs(1));
  const std::vector<v1::StreamEnded> lost = Of("bad").lost;
  EXPECT_EQ(lost[0].retry_after_seconds(), 0);
  EXPECT_NEAR(lost[1].retry_after_seconds(), 0.2, 1e-6);
  EXPECT_NEAR(lost[2].retry_after_seconds(), 0.4, 1e-6);
  EXPECT_NEAR(lost[3].retry_after_seconds(), 0.8, 1e-6);
  Revoke("bad");
  EXPECT_TRUE(WaitFor([this] { return seen_["bad"].ended; }));
  EXPECT_EQ(workers_->stats().quarantined, 0);
}

TEST_F(ProcessWorkersTest, AProcessThatSaysWhatNoWorkerSaysIsEnded) {
  Start();
  Assign("good", "ok");
  ASSERT_TRUE(WaitForMore("good"));
  Assign("bad", Once("lie"));
  ASSERT_TRUE(WaitFor([this] { return !seen_["bad"].lost.empty(); }));
  EXPECT_THAT(Of("bad").lost[0].reason(),
              AllOf(HasSubstr("at work on it"), HasSubstr("local_ip must be")));
  EXPECT_GT(Of("bad").lost[0].quarantine_seconds(), 0);
  ASSERT_TRUE(WaitForMore("bad"));
  ASSERT_TRUE(WaitForMore("good"));
  EXPECT_EQ(workers_->stats().lost["crashed"], 1);
}

TEST_F(ProcessWorkersTest, AStreamThatHangsAThreadIsNamed) {
  Start();
  Assign("good", "ok");
  ASSERT_TRUE(WaitForMore("good"));
  Assign("bad", Once("hang"));
  ASSERT_TRUE(WaitFor([this] { return !seen_["bad"].lost.empty(); }));
  EXPECT_THAT(Of("bad").lost[0].reason(), HasSubstr("did not come back"));
  EXPECT_GT(Of("bad").lost[0].quarantine_seconds(), 0);
  EXPECT_TRUE(WaitForMore("bad"));
  EXPECT_TRUE(WaitForMore("good"));
  EXPECT_EQ(workers_->stats().lost["hung"], 1);
}

TEST_F(ProcessWorkersTest, AProcessThatDoesNotAnswerIsStartedAnew) {
  options_.answer_timeout = absl::Seconds(2);
  Start();
  Assign("good", "ok");
  ASSERT_TRUE(WaitForMore("good"));
  kill(Children().front(), SIGSTOP);
  ASSERT_TRUE(WaitFor([this] { return !seen_["good"].lost.empty(); }));
  EXPECT_THAT(Of("good").lost[0].reason(), HasSubstr("did not answer"));
  EXPECT_TRUE(WaitForMore("good"));
}

TEST_F(ProcessWorkersTest, TheLimitOfMemoryIsKept) {
#ifdef CAMHERD_SANITIZED
  GTEST_SKIP() << "a sanitizer's program has no such limit";
#endif
  options_.worker.memory_bytes = int64_t{512} << 20;
  Start();
  Assign("good", "ok");
  ASSERT_TRUE(WaitForMore("good"));
  Assign("bad", Once("eat"));
  ASSERT_TRUE(WaitFor([this] { return !seen_["bad"].lost.empty(); }));
  EXPECT_THAT(Of("bad").lost[0].reason(), HasSubstr("signal 6"));
  EXPECT_GT(Of("bad").lost[0].quarantine_seconds(), 0);
  EXPECT_TRUE(WaitForMore("bad"));
  EXPECT_TRUE(WaitForMore("good"));
}

TEST_F(ProcessWorkersTest, ManyEndsLeaveNothingBehind) {
  Start();
  Assign("good", "ok");
  ASSERT_TRUE(WaitForMore("good"));
  const int before = OpenDescriptors();
  for (int i = 0; i < 5; ++i) {
    kill(Children().front(), SIGKILL);
    ASSERT_TRUE(WaitFor([this, i] {
      return seen_["good"].lost.size() == static_cast<size_t>(i) + 1;
    }));
    ASSERT_TRUE(WaitForMore("good", 1));
  }
  EXPECT_EQ(OpenDescriptors(), before);
  EXPECT_THAT(Children(), SizeIs(1));
}

TEST_F(ProcessWorkersTest, StopEndsAlsoAFrozenProcess) {
  options_.stop_timeout = absl::Seconds(1);
  Start();
  Assign("good", "ok");
  ASSERT_TRUE(WaitForMore("good"));
  kill(Children().front(), SIGSTOP);
  const absl::Duration since = Clock::Real().SteadyNow();
  workers_->Stop();
  EXPECT_LT(Clock::Real().SteadyNow() - since, absl::Seconds(5));
  EXPECT_TRUE(Of("good").ended);
}

TEST_F(ProcessWorkersTest, AProgramThatCannotBeStartedIsTriedAgain) {
  options_.worker.argv = {"/nonexistent"};
  options_.restart_initial = absl::Milliseconds(50);
  Start();
  Assign("a", "ok");
  ASSERT_TRUE(WaitFor([this] { return seen_["a"].lost.size() >= 2; }));
  EXPECT_THAT(Of("a").lost[0].reason(), HasSubstr("/nonexistent"));
  EXPECT_GE(workers_->stats().lost["not_started"], 2);
}

}  // namespace
}  // namespace camherd::capture
