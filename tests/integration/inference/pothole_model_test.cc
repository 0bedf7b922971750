// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "services/common/clock.h"
#include "services/common/file.h"
#include "services/inference/engine_factory.h"
#include "services/inference/jpeg_decoder.h"
#include "services/inference/model_registry.h"
#include "services/inference/nms.h"
#include "tests/support/status_matchers.h"
#include "tests/unit/inference/fakes.h"

// The model `pothole` in its real environment: fetches 0.3 GB of packages, so
// it has the label `long`.
namespace camherd::inference {
namespace {

using ::camherd::inference::testing::TempDir;
using ::camherd::v1::Detection;

class PotholeModelTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(WeightsDir() + "/pothole_yolov5nu_256.onnx")) {
      GTEST_SKIP() << "no pothole_yolov5nu_256.onnx in " << WeightsDir();
    }
    EngineFactoryOptions options;
    options.environment.venvs_dir = dir_ / "venvs";
    options.cache_dir = dir_ / "cache";
    options.precision = "f32";
    options.input_shape = "square";
    options.scaled_decoding = false;
    factory_ = MakeEngineFactory(options, nullptr);
  }

  static std::string WeightsDir() {
    const char* dir = std::getenv("CAMHERD_WEIGHTS_DIR");
    return dir != nullptr ? dir : CAMHERD_SOURCE_DIR "/../shared/data/weights";
  }

  // The model ready on `engine`, the only one it may have.
  std::unique_ptr<ModelRegistry> Load(const std::string& engine) {
    ModelRegistry::Options options;
    options.models_dir = CAMHERD_SOURCE_DIR "/models";
    options.weights_dir = WeightsDir();
    auto registry = std::make_unique<ModelRegistry>(
        options,
        [this, engine](
            const EngineRequest& request, const PrepareProgressFn& progress,
            const StopSignal& stop) -> absl::StatusOr<std::unique_ptr<Engine>> {
          if (request.engine == engine)
            return factory_(request, progress, stop);
          return absl::UnimplementedError("not here");
        },
        Clock::Real(), nullptr);
    EXPECT_TRUE(registry->Prepare("pothole", false).ok());
    for (;;) {
      const auto model = registry->Get("pothole");
      EXPECT_NE(model->state(), camherd::v1::MODEL_STATE_FAILED)
          << model->reason();
      if (model->state() == camherd::v1::MODEL_STATE_FAILED ||
          model->state() == camherd::v1::MODEL_STATE_READY) {
        return registry;
      }
      Clock::Real().SleepFor(absl::Milliseconds(100));
    }
  }

  static std::vector<Detection> Look(ModelRegistry& registry,
                                     const std::string& path,
                                     double min_score) {
    const auto jpeg = ReadFile(path, 16 << 20);
    EXPECT_TRUE(jpeg.ok()) << jpeg.status();
    const auto size = ReadJpegHeader(*jpeg, 1 << 26);
    const Picture picture = {0, *jpeg, size->width, size->height};
    const auto use = registry.Acquire("pothole");
    auto result = use.engine->Infer(
        {picture}, {.min_score = min_score, .nms_iou = use.manifest->nms_iou});
    EXPECT_TRUE(result.ok()) << result.status();
    return result.ok() ? std::move(result->detections)
                       : std::vector<Detection>();
  }

  TempDir dir_;
  EngineFactory factory_;
};

TEST_F(PotholeModelTest, FindsAPotholeAndNoneOnAnEmptyRoad) {
  const auto registry = Load("venv");
  const auto count = [&](const std::string& name) {
    return Look(*registry, absl::StrCat(WeightsDir(), "/../images/", name),
                registry->Acquire("pothole").manifest->min_score)
        .size();
  };
  EXPECT_GE(count("pothole_10.jpg"), 1U);
  EXPECT_GE(count("pothole_183.jpg") + count("pothole_30.jpg"), 1U);
  EXPECT_EQ(count("empty_road.jpg"), 0U);
}

TEST_F(PotholeModelTest, TheNativeEngineFindsWhatThePythonOneFinds) {
  const std::string folder = WeightsDir() + "/../potholes/images";
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << "no " << folder;
  const auto python = Load("venv");
  const auto native = Load("openvino");
  ASSERT_EQ(python->Get("pothole")->engine(), "venv");
  ASSERT_EQ(native->Get("pothole")->engine(), "openvino");
  int boxes = 0;
  int same = 0;
  for (const auto& file : std::filesystem::directory_iterator(folder)) {
    const auto by_python = Look(*python, file.path().string(), 0.2);
    const auto by_native = Look(*native, file.path().string(), 0.2);
    for (const auto& [ones, others] :
         {std::pair{&by_python, &by_native}, {&by_native, &by_python}}) {
      for (const Detection& one : *ones) {
        if (one.confidence() <= 0.3F) continue;
        ++boxes;
        same += std::any_of(
            others->begin(), others->end(), [&one](const Detection& other) {
              return Iou(one.box(), other.box()) >= 0.9F &&
                     std::abs(one.confidence() - other.confidence()) <= 0.05F;
            });
      }
    }
  }
  std::cout << same << " of " << boxes << " boxes over 0.3 are the same\n";
  EXPECT_GE(boxes, 50);
  EXPECT_GE(same, 0.99 * boxes);
}

}  // namespace
}  // namespace camherd::inference
