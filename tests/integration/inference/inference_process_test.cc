// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <grpcpp/client_context.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "camherd/v1/inference_service.grpc.pb.h"
#include "services/common/child_process.h"
#include "services/common/clock.h"
#include "services/common/file.h"
#include "services/common/grpc_client.h"
#include "tests/support/status_matchers.h"
#include "tests/unit/inference/fakes.h"
#include "tests/unit/inference/onnx_bytes.h"

// The program itself, with a model whose worker is a real process.
namespace camherd::inference {
namespace {

using ::camherd::inference::testing::MakeJpeg;
using ::camherd::inference::testing::TempDir;
using ::camherd::inference::testing::WaitUntil;
using ::camherd::inference::testing::onnx::External;
using ::camherd::inference::testing::onnx::Network;
using ::camherd::inference::testing::onnx::Tensor;
using ::camherd::inference::testing::onnx::Weights;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
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

TEST_F(InferenceProcessTest, ModelsOfBadWeightsAreFailedAndTheServiceStaysUp) {
  WaitReady();
  const auto stub = InferenceService::NewStub(MakeChannel(address_));
  const std::string outside =
      Tensor({1, 5, 84}, "weights", External({{"location", "/etc/passwd"}}));
  for (const auto& [name, bytes, word] :
       {std::tuple<std::string, std::string, std::string>{
            "empty", "", "empty/net.onnx is no ONNX network"},
        {"truncated", Network(Weights(), {1, 5, 84}).substr(0, 500),
         "truncated/net.onnx is no ONNX network: it is cut short"},
        {"outside", Network(outside, {1, 5, 84}),
         "\"/etc/passwd\", which is not a plain path"}}) {
    dir_.Write(
        absl::StrCat("models/", name, "/model.yaml"),
        absl::StrCat("engines: [openvino]\nclasses: [dog]\nsection: ", name,
                     "\nweights:\n  - {file: net.onnx}\n", "output: yolov8\n",
                     "input: {width: 64, height: 64}\n"));
    dir_.Write(absl::StrCat("models/", name, "/net.onnx"), bytes);
    grpc::ClientContext context;
    SetDeadline(context, absl::Seconds(20));
    PrepareModelRequest request;
    request.set_name(name);
    const auto reader = stub->PrepareModel(&context, request);
    PrepareModelResponse response;
    while (reader->Read(&response)) {
    }
    EXPECT_EQ(response.model().state(), MODEL_STATE_FAILED);
    const grpc::Status status = reader->Finish();
    EXPECT_EQ(status.error_code(), grpc::FAILED_PRECONDITION);
    EXPECT_THAT(status.error_message(),
                AllOf(HasSubstr(word), Not(HasSubstr("\n"))));
  }
  grpc::ClientContext context;
  SetDeadline(context, absl::Seconds(20));
  DetectRequest request;
  request.set_model("dogs");
  request.set_jpeg(MakeJpeg());
  DetectResponse response;
  EXPECT_TRUE(stub->Detect(&context, request, &response).ok());
  EXPECT_FALSE(service_->HasExited());
}

TEST_F(InferenceProcessTest, LeavesNoWorkerBehindWhenItIsKilled) {
  const pid_t worker = WaitReady();
  ASSERT_FALSE(Gone(worker));
  kill(service_->pid(), SIGKILL);
  EXPECT_TRUE(WaitUntil([&] { return Gone(worker); }));
}

}  // namespace
}  // namespace camherd::inference
