// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <grpcpp/client_context.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "camherd/v1/inference_service.grpc.pb.h"
#include "services/common/clock.h"
#include "services/common/file.h"
#include "services/common/grpc_client.h"
#include "services/inference/child_process.h"
#include "tests/support/status_matchers.h"
#include "tests/unit/inference/fakes.h"

// The program itself, with a model whose worker is a real process.
namespace camherd::inference {
namespace {

using ::camherd::inference::testing::MakeJpeg;
using ::camherd::inference::testing::TempDir;
using ::camherd::inference::testing::WaitUntil;
using ::testing::HasSubstr;
using namespace camherd::v1;

constexpr char kRunner[] = R"(
import os, sys
sys.path.insert(0, "@MODELS@")
from camherd_worker import Model, run

def load(options):
    open("pid", "w").write(str(os.getpid()))
    return lambda jpeg, min_score, nms_iou: [("dog", 0.5, (1, 2, 30, 40))]

sys.exit(run(Model("dogs", "dogs", ("dog",), load), __file__))
)";

class InferenceProcessTest : public ::testing::Test {
 protected:
  InferenceProcessTest() {
    dir_.Write("models/dogs/model.yaml",
               "engines: [venv]\nclasses: [dog]\nsection: dogs\n");
    dir_.Write("models/dogs/requirements_dogs.txt", "");
    std::string runner = kRunner;
    runner.replace(runner.find("@MODELS@"), 8, CAMHERD_SOURCE_DIR "/models");
    dir_.Write("models/dogs/run_inference.py", runner);
    const std::string config =
        dir_.Write("camherd.yaml",
                   absl::StrCat("inference:\n  listen: 127.0.0.1:0\n"
                                "  metrics_listen: 127.0.0.1:0\n"
                                "  aggregator: 127.0.0.1:1\n  prepare: [dogs]\n"
                                "  models_dir: ",
                                dir_.path(), "/models\n"));
    ChildProcess::Options options;
    options.argv = {CAMHERD_INFERENCE_BINARY, "--config", config, "--data-dir",
                    dir_.path() + "/data"};
    options.env = EnvironmentForChildren();
    service_ = ChildProcess::Spawn(options).value();
  }

  void ReadLog() {
    service_->ReadOutput([this](const std::string& line) {
      log_ += line + "\n";
      const size_t at = line.find(" grpc=");
      if (at != std::string::npos) {
        address_ = line.substr(at + 6, line.find(' ', at + 6) - at - 6);
      }
    });
  }

  // Waits until the model is ready; returns its worker's process id.
  pid_t WaitReady() {
    EXPECT_TRUE(WaitUntil([this] {
      ReadLog();
      return log_.find("model ready") != std::string::npos;
    })) << log_;
    int pid = 0;
    const auto text = ReadFile(dir_.path() + "/data/model_cache/dogs/pid", 100);
    EXPECT_TRUE(text.ok() && absl::SimpleAtoi(*text, &pid));
    return pid;
  }

  static bool Gone(pid_t pid) {
    std::ifstream file(absl::StrCat("/proc/", pid, "/stat"));
    std::string text((std::istreambuf_iterator<char>(file)), {});
    const size_t end = text.rfind(')');
    return end == std::string::npos || text[end + 2] == 'Z';
  }

  TempDir dir_;
  std::unique_ptr<ChildProcess> service_;
  std::string log_;
  std::string address_;
};

TEST_F(InferenceProcessTest, PreparesDetectsAndEndsCleanlyOnSigterm) {
  const pid_t worker = WaitReady();
  const auto stub = InferenceService::NewStub(MakeChannel(address_));
  grpc::ClientContext context;
  SetDeadline(context, absl::Seconds(20));
  DetectRequest request;
  request.set_model("dogs");
  request.set_jpeg(MakeJpeg());
  DetectResponse response;
  const grpc::Status status = stub->Detect(&context, request, &response);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(response.detections(0).class_name(), "dog");
  EXPECT_EQ(response.engine(), "venv");

  const absl::Duration start = Clock::Real().SteadyNow();
  kill(service_->pid(), SIGTERM);
  ASSERT_TRUE(WaitUntil([this] { return service_->HasExited(); }));
  EXPECT_LT(Clock::Real().SteadyNow() - start, absl::Seconds(10));
  service_->Kill();
  EXPECT_EQ(service_->exit_code(), 0) << log_;
  EXPECT_TRUE(WaitUntil([&] { return Gone(worker); }));
}

TEST_F(InferenceProcessTest, LeavesNoWorkerBehindWhenItIsKilled) {
  const pid_t worker = WaitReady();
  ASSERT_FALSE(Gone(worker));
  kill(service_->pid(), SIGKILL);
  EXPECT_TRUE(WaitUntil([&] { return Gone(worker); }));
}

}  // namespace
}  // namespace camherd::inference
