// SPDX-License-Identifier: Apache-2.0
//
// Which engine a model gets where there is no GPU.
#include "services/inference/engine_factory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "tests/support/status_matchers.h"
#include "tests/unit/inference/fakes.h"

namespace camherd::inference {
namespace {

using ::camherd::inference::testing::TempDir;
using ::camherd::testing::StatusIs;
using ::testing::HasSubstr;
using ::testing::Not;

class EngineFactoryTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const char* dir = std::getenv("CAMHERD_WEIGHTS_DIR");
    weights_ = absl::StrCat(
        dir != nullptr ? dir : CAMHERD_SOURCE_DIR "/../shared/data/weights",
        "/yolox_nano.onnx");
    if (!std::filesystem::exists(weights_)) GTEST_SKIP() << "no " << weights_;
    if (std::filesystem::exists("/dev/nvidiactl")) {
      GTEST_SKIP() << "there is a GPU";
    }
    auto manifest =
        ModelManifest::Load(CAMHERD_SOURCE_DIR "/models/animals_yolox");
    CAMHERD_ASSERT_OK(manifest);
    manifest_ = *std::move(manifest);
    options_.cache_dir = dir_.path();
  }

  // "<engine> on <device>" of the engine that `name` gives.
  absl::StatusOr<std::string> Make(const std::string& name) {
    const EngineFactory factory = MakeEngineFactory(options_, &metrics_);
    StopSignal stop;
    const auto engine = factory(
        {manifest_, name, weights_, false}, [](const PrepareProgress&) {},
        stop);
    if (!engine.ok()) return engine.status();
    return absl::StrCat((*engine)->name(), " on ", (*engine)->device());
  }

  std::string Metrics() {
    return prometheus::TextSerializer().Serialize(registry_.Collect());
  }

  TempDir dir_;
  prometheus::Registry registry_;
  InferenceMetrics metrics_{registry_};
  ModelManifest manifest_;
  std::string weights_;
  EngineFactoryOptions options_;
};

constexpr char kMissed[] =
    "camherd_inference_gpu_misses_total{model=\"animals_yolox\"} 1";

TEST_F(EngineFactoryTest, WithoutADriverTheGpuIsPassedOverInSilence) {
  for (const char* gpu : {"auto", "off"}) {
    options_.gpu = gpu;
    EXPECT_THAT(Make("onnxruntime"),
                StatusIs(absl::StatusCode::kUnimplemented));
    EXPECT_EQ(*Make("openvino"), "openvino on cpu");
  }
  EXPECT_THAT(Metrics(), Not(HasSubstr("gpu_misses_total{")));
}

TEST_F(EngineFactoryTest, APreferredGpuThatIsMissedIsCounted) {
  options_.gpu = "prefer";
  EXPECT_THAT(Make("onnxruntime"),
              StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("CUDA")));
  EXPECT_THAT(Metrics(), HasSubstr(kMissed));
  EXPECT_EQ(*Make("openvino"), "openvino on cpu");
}

TEST_F(EngineFactoryTest, ARequiredGpuThatIsMissedIsAnError) {
  options_.gpu = "require";
  EXPECT_THAT(Make("onnxruntime"),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("CUDA")));
  EXPECT_THAT(Make("openvino"),
              StatusIs(absl::StatusCode::kUnimplemented,
                       HasSubstr("inference.gpu is require")));
}

TEST_F(EngineFactoryTest, TheLastEngineOfAModelRunsOnTheProcessor) {
  manifest_.engines = {"onnxruntime"};
  for (const char* gpu : {"auto", "off", "prefer"}) {
    options_.gpu = gpu;
    EXPECT_EQ(*Make("onnxruntime"), "onnxruntime on cpu") << gpu;
  }
  EXPECT_THAT(Metrics(), HasSubstr(kMissed));
}

}  // namespace
}  // namespace camherd::inference
