// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <string>

#include "absl/strings/str_cat.h"
#include "services/common/clock.h"
#include "services/common/file.h"
#include "services/inference/engine_factory.h"
#include "services/inference/jpeg_decoder.h"
#include "services/inference/model_registry.h"
#include "tests/support/status_matchers.h"
#include "tests/unit/inference/fakes.h"

// The model `pothole` in its real environment: fetches 0.3 GB of packages, so
// it has the label `long`.
namespace camherd::inference {
namespace {

using ::camherd::inference::testing::TempDir;

TEST(PotholeModelTest, FindsAPotholeAndNoneOnAnEmptyRoad) {
  const char* weights = std::getenv("CAMHERD_WEIGHTS_DIR");
  const std::string weights_dir = weights != nullptr ? weights
                                                     : CAMHERD_SOURCE_DIR
                                      "/../shared/data/weights";
  if (!std::filesystem::exists(weights_dir + "/pothole_yolov5nu_256.onnx")) {
    GTEST_SKIP() << "no pothole_yolov5nu_256.onnx in " << weights_dir;
  }
  const TempDir dir;
  EngineFactoryOptions engines;
  engines.environment.venvs_dir = dir.path() + "/venvs";
  engines.cache_dir = dir.path() + "/cache";
  ModelRegistry::Options options;
  options.models_dir = CAMHERD_SOURCE_DIR "/models";
  options.weights_dir = weights_dir;
  // Not natively.
  const EngineFactory all = MakeEngineFactory(engines, nullptr);
  const EngineFactory only_venv =
      [&all](
          const EngineRequest& request, const PrepareProgressFn& progress,
          const StopSignal& stop) -> absl::StatusOr<std::unique_ptr<Engine>> {
    if (request.engine != "venv") return absl::UnimplementedError("not here");
    return all(request, progress, stop);
  };
  ModelRegistry registry(options, only_venv, Clock::Real(), nullptr);
  CAMHERD_ASSERT_OK(registry.Prepare("pothole", false));
  for (;;) {
    const auto model = registry.Get("pothole");
    ASSERT_NE(model->state(), camherd::v1::MODEL_STATE_FAILED)
        << model->reason();
    if (model->state() == camherd::v1::MODEL_STATE_READY) break;
    Clock::Real().SleepFor(absl::Milliseconds(100));
  }
  const auto use = registry.Acquire("pothole");
  const auto count = [&](const std::string& name) {
    const auto jpeg =
        ReadFile(absl::StrCat(weights_dir, "/../images/", name), 16 << 20);
    EXPECT_TRUE(jpeg.ok());
    const auto size = ReadJpegHeader(*jpeg, 1 << 26);
    const Picture picture = {0, *jpeg, size->width, size->height};
    const auto result =
        use.engine->Infer({picture}, {.min_score = use.manifest->min_score,
                                      .nms_iou = use.manifest->nms_iou});
    EXPECT_TRUE(result.ok()) << result.status();
    return result.ok() ? result->detections.size() : 0;
  };
  EXPECT_GE(count("pothole_10.jpg"), 1U);
  EXPECT_GE(count("pothole_183.jpg") + count("pothole_30.jpg"), 1U);
  EXPECT_EQ(count("empty_road.jpg"), 0U);
}

}  // namespace
}  // namespace camherd::inference
