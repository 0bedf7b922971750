// SPDX-License-Identifier: Apache-2.0
#include "services/inference/venv_engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "services/common/clock.h"
#include "tests/support/status_matchers.h"
#include "tests/unit/inference/broken_jpegs.h"
#include "tests/unit/inference/fakes.h"

namespace camherd::inference {
namespace {

using ::camherd::inference::testing::BrokenJpeg;
using ::camherd::inference::testing::BrokenJpegs;
using ::camherd::inference::testing::MakeJpeg;
using ::camherd::inference::testing::TempDir;
using ::camherd::inference::testing::WaitUntil;
using ::camherd::testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

// A run_inference.py of the real protocol; what happens on a picture is given.
// `state` counts the pictures over restarts, in a file.
constexpr char kRunner[] = R"(
import os, sys, time
sys.path.insert(0, "@MODELS@")
from camherd_worker import Model, run

def count():
    with open("state", "a+") as state:
        state.write("x")
        state.seek(0)
        return len(state.read())

def load(options):
    @LOAD@
    def detect(jpeg, min_score, nms_iou):
        @DETECT@
        return [("dog", 0.5, (1, 2, 30, 40)), ("cat", 0.9, (1, 2, 30, 40)),
                ("dog", 0.75, (-5, 0, 1000, 10)), ("dog", 0.9, (90, 0, 99, 9))]
    return detect

sys.exit(run(Model("dogs", "dogs", ("cat", "dog"), load), __file__))
)";

class VenvEngineTest : public ::testing::Test {
 protected:
  VenvEngineTest() {
    options_.model = "dogs";
    options_.python = CAMHERD_TEST_PYTHON;
    options_.classes = {"dog"};
    options_.cache_dir = dir_.path() + "/cache";
    options_.start_timeout = absl::Seconds(30);
    options_.batch_timeout = absl::Seconds(30);
    options_.restart_backoff = {absl::Milliseconds(1), absl::Milliseconds(10)};
  }

  void WriteRunner(const std::string& detect, const std::string& load = "pass",
                   const char* text = kRunner) {
    options_.runner = dir_.Write(
        "dogs/run_inference.py",
        absl::StrReplaceAll(text, {{"@MODELS@", CAMHERD_SOURCE_DIR "/models"},
                                   {"@LOAD@", load},
                                   {"@DETECT@", detect}}));
  }

  void Start() {
    auto engine = VenvEngine::Create(options_, stop_);
    CAMHERD_ASSERT_OK(engine);
    engine_ = *std::move(engine);
  }

  absl::StatusOr<InferResult> Infer(int pictures = 1) {
    std::vector<Picture> list;
    for (int i = 0; i < pictures; ++i) list.push_back({i, jpeg_, 64, 48});
    return engine_->Infer(list, {.queue_timeout = absl::Seconds(20)});
  }

  // The number a worker wrote to `name` in its folder.
  pid_t ReadPid(const std::string& name) {
    int pid = 0;
    WaitUntil([&] {
      std::ifstream file(options_.cache_dir + "/" + name);
      return static_cast<bool>(file >> pid) && pid > 0;
    });
    return pid;
  }
  static bool Gone(pid_t pid) {
    // A zombie that init has not reaped yet is gone too.
    std::ifstream file(absl::StrCat("/proc/", pid, "/stat"));
    std::string text((std::istreambuf_iterator<char>(file)), {});
    const size_t end = text.rfind(')');
    return end == std::string::npos || text[end + 2] == 'Z';
  }

  TempDir dir_;
  StopSignal stop_;
  VenvEngine::Options options_;
  const std::string jpeg_ = MakeJpeg(64, 48);
  std::unique_ptr<VenvEngine> engine_;
};

TEST_F(VenvEngineTest, AnswersBoxesOfKeptClassesCutToThePicture) {
  WriteRunner("pass");
  Start();
  EXPECT_EQ(engine_->device(), "cpu");
  const auto result = Infer(2);
  CAMHERD_ASSERT_OK(result);
  ASSERT_EQ(result->detections.size(), 4U);
  const auto& first = result->detections[0];
  EXPECT_EQ(first.class_name(), "dog");
  EXPECT_EQ(first.frame_index(), 0);
  EXPECT_FLOAT_EQ(first.confidence(), 0.75F);
  EXPECT_EQ(first.box().x1(), 0);
  EXPECT_EQ(first.box().x2(), 64);
  EXPECT_EQ(result->detections[3].frame_index(), 1);
  EXPECT_EQ(engine_->worker_restarts(), 0);
}

TEST_F(VenvEngineTest, TheWorkerLivesFromBatchToBatch) {
  WriteRunner("open('pid%d' % count(), 'w').write(str(os.getpid()))");
  Start();
  CAMHERD_ASSERT_OK(Infer());
  CAMHERD_ASSERT_OK(Infer());
  EXPECT_EQ(ReadPid("pid1"), ReadPid("pid2"));
}

TEST_F(VenvEngineTest, ListsPicturesThatCannotBeDecoded) {
  WriteRunner("if count() == 2: return None");
  Start();
  const auto result = Infer(3);
  CAMHERD_ASSERT_OK(result);
  EXPECT_THAT(result->undecodable_frames, ElementsAre(1));
}

TEST_F(VenvEngineTest, WhatTheWorkerPrintsBreaksNothing) {
  WriteRunner(
      "print('{\"type\": \"result\"}' * 1000); "
      "sys.stderr.write('x' * 100000)");
  Start();
  CAMHERD_ASSERT_OK(Infer());
  CAMHERD_ASSERT_OK(Infer());
  EXPECT_EQ(engine_->worker_restarts(), 0);
}

TEST_F(VenvEngineTest, ABatchIsTriedOnceMoreOnANewWorker) {
  WriteRunner("if count() == 1: os._exit(3)");
  Start();
  CAMHERD_ASSERT_OK(Infer());
  EXPECT_EQ(engine_->worker_restarts(), 1);
}

TEST_F(VenvEngineTest, ABatchThatKillsTheWorkerTwiceIsGivenUpOthersGoOn) {
  WriteRunner(
      "if count() <= 2: print('last words'); sys.stdout.flush(); "
      "os._exit(3)");
  Start();
  EXPECT_THAT(Infer(),
              StatusIs(absl::StatusCode::kAborted,
                       AllOf(HasSubstr("twice"), HasSubstr("exit code 3"),
                             HasSubstr("last words"))));
  CAMHERD_EXPECT_OK(Infer());
}

TEST_F(VenvEngineTest, AnExceptionCostsTheBatchAndNotTheWorker) {
  WriteRunner("if count() == 1: raise ValueError('odd picture')");
  Start();
  EXPECT_THAT(Infer(), StatusIs(absl::StatusCode::kAborted,
                                HasSubstr("ValueError: odd picture")));
  CAMHERD_EXPECT_OK(Infer());
  EXPECT_EQ(engine_->worker_restarts(), 0);
}

TEST_F(VenvEngineTest, AWorkerThatHangsIsKilled) {
  options_.batch_timeout = absl::Milliseconds(300);
  WriteRunner("if count() == 1: time.sleep(1000)");
  Start();
  CAMHERD_ASSERT_OK(Infer());
  EXPECT_EQ(engine_->worker_restarts(), 1);
}

class GarbageTest : public VenvEngineTest,
                    public ::testing::WithParamInterface<const char*> {};

TEST_P(GarbageTest, AWorkerThatSendsGarbageIsKilled) {
  // `s` is the socket, `m(text)` a message of that header.
  WriteRunner(absl::StrCat(
      "import socket, struct; s = socket.socket(fileno=os.dup(3)); "
      "m = lambda t: struct.pack('>I', len(t)) + t.encode(); ",
      "count() == 1 and (", GetParam(), ", time.sleep(1000))"));
  Start();
  CAMHERD_ASSERT_OK(Infer());
  EXPECT_EQ(engine_->worker_restarts(), 1);
}

INSTANTIATE_TEST_SUITE_P(
    All, GarbageTest,
    ::testing::Values(
        "s.sendall(b'\\xff' * 100)", "s.sendall(b'\\0' * 100)",
        "s.sendall(m('not json'))", "s.sendall(m('[]'))",
        "s.sendall(m('[' * 100000))", "s.sendall(m('{\"type\": 5}'))",
        "s.sendall(m('{\"type\": \"result\", \"id\": 999, \"detections\": [], "
        "\"undecodable\": []}'))",
        "s.sendall(m('{\"type\": \"result\", \"id\": 1}'))",
        "s.sendall(m('{\"type\": \"result\", \"id\": 1, \"undecodable\": [7], "
        "\"detections\": []}'))",
        "s.sendall(m('{\"type\": \"result\", \"id\": 1, \"undecodable\": [], "
        "\"detections\": [{\"picture\": 0, \"class\": \"dog\", "
        "\"confidence\": 7, \"box\": [0, 0, 1, 1]}]}'))",
        "s.sendall(m('{\"type\": \"result\", \"id\": 1, \"undecodable\": [], "
        "\"detections\": [{\"picture\": 9, \"class\": \"dog\", "
        "\"confidence\": 0.7, \"box\": [0, 0, 1, 1]}]}'))",
        "s.sendall(m('{\"type\": \"result\", \"id\": 1, \"blobs\": [4]}'))"));

TEST_F(VenvEngineTest, AWorkerThatEndsWhileIdleIsStartedAnew) {
  WriteRunner("open('pid%d' % count(), 'w').write(str(os.getpid()))");
  Start();
  CAMHERD_ASSERT_OK(Infer());
  kill(ReadPid("pid1"), SIGKILL);
  EXPECT_TRUE(WaitUntil([&] { return engine_->worker_restarts() == 1; }));
  CAMHERD_ASSERT_OK(Infer());
  EXPECT_NE(ReadPid("pid1"), ReadPid("pid2"));
}

TEST_F(VenvEngineTest, WhatAWorkerForksIsKilledWithIt) {
  WriteRunner(
      "pid = os.fork() if count() == 1 else -1\n"
      "        if pid == 0: time.sleep(1000)\n"
      "        if pid > 0: open('child', 'w').write(str(pid)); os._exit(0)");
  Start();
  CAMHERD_ASSERT_OK(Infer());
  EXPECT_EQ(engine_->worker_restarts(), 1);
  EXPECT_TRUE(WaitUntil([&] { return Gone(ReadPid("child")); }));
}

#ifndef CAMHERD_SANITIZED
TEST_F(VenvEngineTest, AWorkerThatEatsMemoryIsStartedAnew) {
  options_.memory_bytes = 256 << 20;
  WriteRunner("if count() == 1: bytearray(1 << 30)");
  Start();
  CAMHERD_EXPECT_OK(Infer());
  EXPECT_EQ(engine_->worker_restarts(), 1);
}

TEST_F(VenvEngineTest, ABatchThatTakesTooMuchMemoryTwiceIsGivenUp) {
  options_.memory_bytes = 256 << 20;
  WriteRunner("if count() <= 2: bytearray(1 << 30)");
  Start();
  EXPECT_THAT(Infer(),
              StatusIs(absl::StatusCode::kAborted,
                       AllOf(HasSubstr("twice"), HasSubstr("MemoryError"))));
  CAMHERD_EXPECT_OK(Infer());
}
#endif

// As torch, OpenCV and ONNX Runtime say it.
TEST_F(VenvEngineTest, ALibraryThatIsOutOfMemoryCountsAsWell) {
  WriteRunner(
      "if count() == 1: raise RuntimeError(\"DefaultCPUAllocator: can't "
      "allocate memory\")");
  Start();
  CAMHERD_EXPECT_OK(Infer());
  EXPECT_EQ(engine_->worker_restarts(), 1);
}

TEST_F(VenvEngineTest, AWorkerThatPrintsWithoutEndIsKilledInTime) {
  options_.batch_timeout = absl::Milliseconds(300);
  WriteRunner(
      "if count() == 1:\n            while True: "
      "os.write(1, b'garbage\\n' * 8192)");
  Start();
  CAMHERD_EXPECT_OK(Infer());
  EXPECT_EQ(engine_->worker_restarts(), 1);
}

TEST_F(VenvEngineTest, ABatchOnWhichTheWorkerHangsTwiceIsGivenUp) {
  options_.batch_timeout = absl::Milliseconds(300);
  WriteRunner("if count() <= 2: time.sleep(1000)");
  Start();
  EXPECT_THAT(Infer(), StatusIs(absl::StatusCode::kAborted,
                                AllOf(HasSubstr("twice"),
                                      HasSubstr("did not answer in time"))));
  CAMHERD_EXPECT_OK(Infer());
}

TEST_F(VenvEngineTest, ABatchOnWhichTheWorkerSendsGarbageTwiceIsGivenUp) {
  WriteRunner(
      "import socket; count() <= 2 and socket.socket(fileno=os.dup(3))."
      "sendall(b'\\xff' * 100)");
  Start();
  EXPECT_THAT(Infer(), StatusIs(absl::StatusCode::kAborted,
                                AllOf(HasSubstr("twice"),
                                      HasSubstr("sent a header of"))));
  CAMHERD_EXPECT_OK(Infer());
}

TEST_F(VenvEngineTest, AWorkerThatSendsGarbageWhileIdleIsStartedAnew) {
  WriteRunner(
      "import socket, threading; s = socket.socket(fileno=os.dup(3)); "
      "count() == 1 and threading.Timer(0.05, s.sendall, [b'x']).start()");
  Start();
  CAMHERD_ASSERT_OK(Infer());
  EXPECT_TRUE(WaitUntil([&] { return engine_->worker_restarts() == 1; }));
  CAMHERD_EXPECT_OK(Infer());
}

TEST_F(VenvEngineTest, AWorkerThatFailedABatchIsStartedAgainAfterAPause) {
  // At least six minutes.
  options_.restart_backoff = {absl::Hours(1), absl::Hours(1)};
  WriteRunner("count() <= 2 and os._exit(3)");
  Start();
  EXPECT_THAT(Infer(), StatusIs(absl::StatusCode::kAborted));
  const Picture picture = {0, jpeg_, 64, 48};
  EXPECT_THAT(
      engine_->Infer({picture}, {.queue_timeout = absl::Milliseconds(200)}),
      StatusIs(absl::StatusCode::kUnavailable, HasSubstr("was free within")));
  EXPECT_EQ(engine_->worker_restarts(), 1);
}

TEST_F(VenvEngineTest, AReasonIsOneLine) {
  WriteRunner("raise ValueError('one\\ntwo\\rthree')");
  Start();
  EXPECT_THAT(Infer(), StatusIs(absl::StatusCode::kAborted,
                                "ValueError: one two three"));
  WriteRunner("pass", "raise ValueError('one\\ntwo')");
  EXPECT_THAT(VenvEngine::Create(options_, stop_).status(),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("ValueError: one two")));
}

TEST_F(VenvEngineTest, NoWorkerSeesABrokenPicture) {
  WriteRunner("if len(jpeg) != " + absl::StrCat(jpeg_.size()) +
              ": os._exit(3)");
  Start();
  for (const BrokenJpeg& broken : BrokenJpegs()) {
    const std::vector<Picture> pictures = {
        {0, jpeg_, 64, 48}, {1, broken.bytes, 160, 120}, {2, jpeg_, 64, 48}};
    const auto result = engine_->Infer(pictures, {});
    CAMHERD_ASSERT_OK(result) << broken.name;
    EXPECT_THAT(result->undecodable_frames, ElementsAre(1)) << broken.name;
    EXPECT_EQ(result->detections.back().frame_index(), 2) << broken.name;
  }
  const std::string cut = jpeg_.substr(0, jpeg_.size() - 10);
  const Picture picture = {7, cut, 64, 48};
  const auto result = engine_->Infer({picture}, {});
  CAMHERD_ASSERT_OK(result);
  EXPECT_THAT(result->undecodable_frames, ElementsAre(7));
  EXPECT_EQ(engine_->worker_restarts(), 0);
}

TEST_F(VenvEngineTest, AModelThatCannotBeLoadedSaysWhy) {
  WriteRunner("pass", "raise RuntimeError('bad weights')");
  EXPECT_THAT(VenvEngine::Create(options_, stop_).status(),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("RuntimeError: bad weights")));
}

TEST_F(VenvEngineTest, ARunnerThatIsBrokenShowsItsLastLines) {
  WriteRunner("", "", "import no_such_module\n");
  EXPECT_THAT(
      VenvEngine::Create(options_, stop_).status(),
      StatusIs(absl::StatusCode::kFailedPrecondition,
               AllOf(HasSubstr("exit code 1"), HasSubstr("no_such_module"))));
}

TEST_F(VenvEngineTest, AWorkerThatNeverSaysHelloIsGivenUp) {
  options_.start_timeout = absl::Milliseconds(300);
  WriteRunner("", "", "import time\ntime.sleep(1000)\n");
  EXPECT_THAT(VenvEngine::Create(options_, stop_).status(),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("did not answer in time")));
}

TEST_F(VenvEngineTest, AClassTheRunnerDoesNotKnowIsNamed) {
  options_.classes = {"dog", "wolf"};
  WriteRunner("pass");
  EXPECT_THAT(VenvEngine::Create(options_, stop_).status(),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("does not know the class \"wolf\"")));
}

TEST_F(VenvEngineTest, AWorkerThatNeverStartsAgainBreaksTheEngine) {
  options_.max_start_failures = 2;
  WriteRunner("count(); os._exit(3)",
              "if os.path.exists('state'): os._exit(4)");
  Start();
  EXPECT_THAT(Infer(), StatusIs(absl::StatusCode::kUnavailable,
                                HasSubstr("does not start again")));
  EXPECT_TRUE(
      WaitUntil([&] { return absl::IsFailedPrecondition(Infer().status()); }));
}

TEST_F(VenvEngineTest, SeesNothingOfOurEnvironment) {
  setenv("CAMHERD_TEST_SECRET", "hunter2", 1);
  WriteRunner(
      "raise ValueError(str(sorted(os.environ)) + "
      "os.environ['OMP_NUM_THREADS'])");
  options_.threads_per_worker = 3;
  Start();
  EXPECT_THAT(Infer(), StatusIs(absl::StatusCode::kAborted,
                                AllOf(Not(HasSubstr("CAMHERD_TEST_SECRET")),
                                      HasSubstr("]3"))));
}

TEST_F(VenvEngineTest, TwoWorkersRunTwoBatchesAtOnce) {
  options_.workers = 2;
  // Each waits until the other is there.
  WriteRunner(
      "count()\n"
      "        while os.path.getsize('state') < 2: time.sleep(0.01)");
  Start();
  std::thread other([&] { CAMHERD_EXPECT_OK(Infer()); });
  CAMHERD_EXPECT_OK(Infer());
  other.join();
}

TEST_F(VenvEngineTest, WaitsForItsTurnOnlySoLong) {
  WriteRunner("count(); time.sleep(1000)");
  Start();
  std::thread first(
      [&] { EXPECT_THAT(Infer(), StatusIs(absl::StatusCode::kUnavailable)); });
  ASSERT_TRUE(WaitUntil(
      [&] { return std::ifstream(options_.cache_dir + "/state").good(); }));
  const Picture picture = {0, jpeg_, 64, 48};
  EXPECT_THAT(
      engine_->Infer({picture}, {.queue_timeout = absl::Milliseconds(50)}),
      StatusIs(absl::StatusCode::kUnavailable, HasSubstr("was free within")));
  engine_->Stop();
  first.join();
}

TEST_F(VenvEngineTest, StopEndsTheWorkerAndWhatItForked) {
  WriteRunner(
      "pid = os.fork()\n"
      "        if pid == 0: time.sleep(1000)\n"
      "        open('child', 'w').write(str(pid))\n"
      "        open('worker', 'w').write(str(os.getpid()))");
  Start();
  CAMHERD_ASSERT_OK(Infer());
  const pid_t worker = ReadPid("worker");
  const pid_t child = ReadPid("child");
  engine_->Stop();
  EXPECT_TRUE(WaitUntil([&] { return Gone(worker) && Gone(child); }));
  EXPECT_THAT(Infer(), StatusIs(absl::StatusCode::kUnavailable));
}

TEST_F(VenvEngineTest, TheStandaloneRunnerPrintsTheSection) {
  WriteRunner("print('library noise')");
  const std::string picture = dir_.Write("a.jpg", jpeg_);
  std::string out;
  CAMHERD_ASSERT_OK(RunCommand(
      {.argv = {CAMHERD_TEST_PYTHON, "-c",
                "import json, subprocess, sys\n"
                "out = subprocess.run([sys.executable] + sys.argv[1:], "
                "capture_output=True, check=True).stdout\n"
                "print(json.loads(out)['dogs']['detections'][0])",
                options_.runner, picture},
       .env = EnvironmentForChildren(),
       .cwd = dir_.path()},
      absl::Seconds(30), stop_, [&](const std::string& line) { out += line; }));
  EXPECT_THAT(out, HasSubstr("'class': 'cat', 'confidence': 0.9, "
                             "'box': [1, 2, 30, 40]"));
}

}  // namespace
}  // namespace camherd::inference
