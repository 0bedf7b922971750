// SPDX-License-Identifier: Apache-2.0
// The probe in a process of its own, against servers that misbehave.
#include "services/capture/process_prober.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "services/capture/worker_process.h"
#include "tests/support/rtsp_server.h"
#include "tests/support/status_matchers.h"

namespace camherd::capture {
namespace {

using ::camherd::testing::IsOk;
using ::camherd::testing::RtspServer;
using ::camherd::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::vector<pid_t> Children() {
  std::vector<pid_t> pids;
  for (const auto& task :
       std::filesystem::directory_iterator("/proc/self/task")) {
    std::ifstream children(task.path() / "children");
    for (pid_t pid = 0; children >> pid;) pids.push_back(pid);
  }
  return pids;
}

class ProcessProberTest : public ::testing::Test {
 protected:
  ProcessProberTest() {
    program_.argv = {CAMHERD_SCRIPTED_WORKER};
    ToProto(StreamWorker::Options{.decode_threads = 1}, program_.config);
    program_.config.set_allow_loopback(true);
    program_.config.set_log_level("info");
    options_.connect_timeout = absl::Seconds(20);
  }

  absl::Status Probe(const std::string& url) {
    ProcessProber prober(program_, options_, Clock::Real());
    return prober.Probe(
        {.url = CameraUrl::Parse(url).value()},
        [this](const v1::ProbeSourceResponse& step) {
          (step.ok() ? good_ : bad_).push_back(step.step());
        },
        [this] { return cancelled_.load(); });
  }
  // While a probe waits for a camera that says nothing.
  absl::Status ProbeSilentAnd(const std::function<void()>& act) {
    RtspServer camera(CAMHERD_RTSP_DIR, "misbehave.py", {"silent"});
    EXPECT_NE(camera.port(), 0);
    absl::Status status;
    // The server is a child as well.
    const std::vector<pid_t> before = Children();
    std::thread probe([&] { status = Probe(camera.Url("cam")); });
    while (Children().size() == before.size()) {
      Clock::Real().SleepFor(absl::Milliseconds(5));
    }
    for (const pid_t pid : Children()) {
      if (std::count(before.begin(), before.end(), pid) == 0) process_ = pid;
    }
    act();
    probe.join();
    EXPECT_EQ(Children(), before);
    return status;
  }

  WorkerProgram program_;
  SourceProbe::Options options_;
  std::atomic<bool> cancelled_ = false;
  std::vector<v1::ProbeStep> good_;
  std::vector<v1::ProbeStep> bad_;
  pid_t process_ = 0;
};

TEST_F(ProcessProberTest, TellsTheStepsAndEnds) {
  RtspServer camera(CAMHERD_RTSP_DIR, "misbehave.py", {"garbage"});
  ASSERT_NE(camera.port(), 0);
  EXPECT_THAT(Probe(camera.Url("cam")), IsOk());
  EXPECT_THAT(good_, ElementsAre(v1::PROBE_STEP_DNS, v1::PROBE_STEP_TCP));
  EXPECT_THAT(bad_, ElementsAre(v1::PROBE_STEP_RTSP));
}

TEST_F(ProcessProberTest, AProcessThatEndsCostsItsProbeOnly) {
  EXPECT_THAT(ProbeSilentAnd([this] { kill(process_, SIGKILL); }),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("Killed")));
}

TEST_F(ProcessProberTest, ACancelledProbeLeavesNoProcess) {
  EXPECT_THAT(ProbeSilentAnd([this] { cancelled_ = true; }),
              StatusIs(absl::StatusCode::kCancelled, HasSubstr("cancelled")));
}

TEST_F(ProcessProberTest, AProgramThatCannotBeStartedIsAnError) {
  program_.argv = {"/nonexistent"};
  EXPECT_THAT(Probe("rtsp://127.0.0.1/cam"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("/nonexistent")));
  EXPECT_THAT(good_, IsEmpty());
}

}  // namespace
}  // namespace camherd::capture
