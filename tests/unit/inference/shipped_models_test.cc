// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "services/common/child_process.h"
#include "services/inference/model_manifest.h"
#include "services/inference/requirements_check.h"
#include "tests/support/status_matchers.h"

// The models that come with Camherd.
namespace camherd::inference {
namespace {

using ::testing::ElementsAre;
using ::testing::SizeIs;

class ShippedModelTest : public ::testing::TestWithParam<const char*> {
 protected:
  absl::StatusOr<ModelManifest> Load() {
    return ModelManifest::Load(
        absl::StrCat(CAMHERD_SOURCE_DIR "/models/", GetParam()));
  }
};

TEST_P(ShippedModelTest, ItsManifestIsGood) {
  const auto manifest = Load();
  CAMHERD_ASSERT_OK(manifest);
  EXPECT_NE(manifest->description, "");
  for (const WeightsEntry& weights : manifest->weights) {
    EXPECT_NE(weights.licence, "");
  }
}

TEST_P(ShippedModelTest, ItsRequirementsAreAllowed) {
  const auto manifest = Load();
  CAMHERD_ASSERT_OK(manifest);
  if (manifest->engines.back() != "venv") return;
  CAMHERD_EXPECT_OK(CheckRequirements(manifest->requirements_path()));
}

// Document A configures the classes in run_inference.py, and model.yaml picks
// from them.
TEST_P(ShippedModelTest, ItsRunnerKnowsTheClassesOfItsManifest) {
  const auto manifest = Load();
  CAMHERD_ASSERT_OK(manifest);
  if (manifest->engines.back() != "venv") return;
  const StopSignal stop;
  std::string classes;
  CAMHERD_ASSERT_OK(
      RunCommand({.argv = {CAMHERD_TEST_PYTHON, "-c",
                           "import runpy, sys; print(', '.join(runpy.run_path("
                           "sys.argv[1])['CLASSES']))",
                           manifest->runner_path()},
                  .env = EnvironmentForChildren()},
                 absl::Seconds(30), stop,
                 [&](const std::string& line) { classes += line; }));
  EXPECT_EQ(classes, absl::StrJoin(manifest->classes, ", "));
}

INSTANTIATE_TEST_SUITE_P(All, ShippedModelTest,
                         ::testing::Values("animals", "animals_yolox",
                                           "yolo_v8", "pothole", "people"),
                         [](const auto& info) { return info.param; });

TEST(ShippedModelsTest, AnimalsKeepsWhatDocumentANames) {
  const auto animals =
      ModelManifest::Load(CAMHERD_SOURCE_DIR "/models/animals");
  CAMHERD_ASSERT_OK(animals);
  EXPECT_THAT(animals->classes, ElementsAre("person", "bird", "cat", "dog",
                                            "horse", "sheep", "cow"));
  EXPECT_EQ(animals->complaint_classes, animals->classes);
  EXPECT_EQ(animals->section, "stray_animal");
  EXPECT_EQ(animals->complaint_type, "stray_animal");
  EXPECT_EQ(animals->weights.back().file, "yolov8n.pt");
  EXPECT_THAT(animals->engines, ElementsAre("onnxruntime", "openvino", "venv"));
}

TEST(ShippedModelsTest, YoloV8KeepsAllEightyClassesOfCoco) {
  const auto yolo = ModelManifest::Load(CAMHERD_SOURCE_DIR "/models/yolo_v8");
  CAMHERD_ASSERT_OK(yolo);
  EXPECT_THAT(yolo->classes, SizeIs(80));
  EXPECT_EQ(yolo->section, "yolo_v8");
}

}  // namespace
}  // namespace camherd::inference
