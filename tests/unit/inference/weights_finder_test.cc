// SPDX-License-Identifier: Apache-2.0
#include "services/inference/weights_finder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "services/inference/status_hint.h"
#include "tests/support/status_matchers.h"
#include "tests/unit/inference/fakes.h"

namespace camherd::inference {
namespace {

using ::camherd::inference::testing::TempDir;
using ::camherd::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

class WeightsFinderTest : public ::testing::Test {
 protected:
  WeightsFinderTest() {
    manifest_.name = "dogs";
    manifest_.dir = dir_.path() + "/dogs";
    manifest_.engines = {"openvino", "venv"};
    WeightsEntry onnx;
    onnx.file = "dogs.onnx";
    onnx.engines = {"openvino"};
    WeightsEntry pt;
    pt.file = "dogs.pt";
    pt.url = "https://example.org/dogs.pt";
    manifest_.weights = {onnx, pt};
  }

  std::string Find(const std::string& engine) {
    const auto found =
        FindWeights(manifest_, engine, int8_, dir_.path() + "/weights",
                    dir_.path() + "/cache");
    return found.has_value() ? found->path.substr(dir_.path().size()) : "";
  }

  TempDir dir_;
  ModelManifest manifest_;
  bool int8_ = false;
};

TEST_F(WeightsFinderTest, LooksInTheModelsFolderThenInTheWeightsFolder) {
  EXPECT_EQ(Find("venv"), "");
  dir_.Write("cache/dogs.pt", "x");
  EXPECT_EQ(Find("venv"), "/cache/dogs.pt");
  dir_.Write("weights/dogs.pt", "x");
  EXPECT_EQ(Find("venv"), "/weights/dogs.pt");
  dir_.Write("dogs/dogs.pt", "x");
  EXPECT_EQ(Find("venv"), "/dogs/dogs.pt");
}

TEST_F(WeightsFinderTest, AnOnnxBesideAPtWinsForAnEngineThatLoadsIt) {
  dir_.Write("weights/dogs.pt", "x");
  dir_.Write("weights/dogs.onnx", "x");
  EXPECT_EQ(Find("openvino"), "/weights/dogs.onnx");
  EXPECT_EQ(Find("venv"), "/weights/dogs.pt");
}

TEST_F(WeightsFinderTest, QuantizedWeightsAreTakenOnlyWhereTheyAreAskedFor) {
  WeightsEntry quantized;
  quantized.file = "dogs_int8.xml";
  quantized.engines = {"openvino"};
  quantized.int8 = true;
  manifest_.weights.insert(manifest_.weights.begin(), quantized);
  dir_.Write("dogs/dogs.onnx", "x");
  dir_.Write("weights/dogs_int8.xml", "x");
  EXPECT_EQ(Find("openvino"), "/dogs/dogs.onnx");
  int8_ = true;
  EXPECT_EQ(Find("openvino"), "/weights/dogs_int8.xml");
  std::filesystem::remove(dir_.path() + "/weights/dogs_int8.xml");
  EXPECT_EQ(Find("openvino"), "/dogs/dogs.onnx");
}

TEST_F(WeightsFinderTest, NothingIsFetchedWithoutAHash) {
  EXPECT_EQ(FetchableWeights(manifest_, "venv"), nullptr);
  manifest_.weights[1].sha256 = std::string(64, 'a');
  EXPECT_EQ(FetchableWeights(manifest_, "venv"), &manifest_.weights[1]);
}

TEST_F(WeightsFinderTest, MissingWeightsSayWhichFileToPutWhereAndItsUrl) {
  const absl::Status missing = MissingWeights(manifest_, "/weights");
  EXPECT_THAT(
      missing,
      StatusIs(absl::StatusCode::kFailedPrecondition,
               AllOf(HasSubstr("Put dogs.onnx or dogs.pt (from https://"),
                     HasSubstr(manifest_.dir), HasSubstr("/weights"))));
  manifest_.weights.erase(manifest_.weights.begin());
  EXPECT_THAT(
      HintOf(MissingWeights(manifest_, "")),
      AllOf(HasSubstr("Put dogs.pt (from"), HasSubstr("CAMHERD_WEIGHTS_DIR"),
            HasSubstr("https://example.org/dogs.pt")));
}

}  // namespace
}  // namespace camherd::inference
