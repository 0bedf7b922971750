// SPDX-License-Identifier: Apache-2.0
#include "services/inference/onnxruntime_engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "services/common/file.h"
#include "services/inference/jpeg_decoder.h"
#include "services/inference/nms.h"
#include "services/inference/openvino_engine.h"
#include "tests/support/status_matchers.h"
#include "tests/unit/inference/fakes.h"

namespace camherd::inference {
namespace {

using ::camherd::inference::testing::MakeJpeg;
using ::camherd::inference::testing::TempDir;
using ::camherd::testing::StatusIs;
using ::camherd::v1::Detection;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using Provider = OnnxruntimeEngine::Provider;

std::string DataDir() {
  const char* dir = std::getenv("CAMHERD_WEIGHTS_DIR");
  return dir != nullptr ? absl::StrCat(dir, "/..")
                        : CAMHERD_SOURCE_DIR "/../shared/data";
}

std::vector<std::string> Jpegs(const std::string& folder) {
  std::vector<std::string> paths;
  std::error_code error;
  for (const auto& entry :
       std::filesystem::directory_iterator(DataDir() + "/" + folder, error)) {
    if (entry.path().extension() == ".jpg") paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());
  return paths;
}

// With the real networks, on the processor's provider; skipped where they are
// not.
class OnnxruntimeEngineTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(DataDir() + "/weights/yolov8n.onnx")) {
      GTEST_SKIP() << "no yolov8n.onnx in " << DataDir() << "/weights";
    }
    options_ = OptionsOf<OnnxruntimeEngine>("animals", "yolov8n_dynamic.onnx");
  }

  // Square and of full size: the numbers are to be those of other engines.
  template <typename AnyEngine>
  static typename AnyEngine::Options OptionsOf(const std::string& model,
                                               const std::string& weights) {
    const ModelManifest manifest =
        ModelManifest::Load(absl::StrCat(CAMHERD_SOURCE_DIR "/models/", model))
            .value();
    typename AnyEngine::Options options;
    options.weights = absl::StrCat(DataDir(), "/weights/", weights);
    options.input = manifest.input;
    options.output = manifest.output;
    options.class_names =
        manifest.class_names.empty() ? manifest.classes : manifest.class_names;
    options.classes = manifest.classes;
    options.rectangular = false;
    options.scaled_decoding = false;
    return options;
  }

  static absl::StatusOr<InferResult> Infer(Engine& engine,
                                           const std::string& jpeg,
                                           const InferOptions& options = {}) {
    const auto size = ReadJpegHeader(jpeg, 1 << 26);
    const Picture picture = {0, jpeg, size.ok() ? size->width : 1,
                             size.ok() ? size->height : 1};
    return engine.Infer({picture}, options);
  }

  static std::string Dog() {
    return ReadFile(DataDir() + "/images/dog_street.jpg", 16 << 20).value();
  }

  OnnxruntimeEngine::Options options_;
};

// How many of `boxes` over 0.3 have a partner among `others`.
struct Agreement {
  int boxes = 0;
  int agreed = 0;
  void Add(const std::vector<Detection>& boxes_here,
           const std::vector<Detection>& others) {
    for (const Detection& one : boxes_here) {
      if (one.confidence() <= 0.3F) continue;
      ++boxes;
      agreed += std::any_of(
          others.begin(), others.end(), [&](const Detection& other) {
            return other.class_name() == one.class_name() &&
                   Iou(other.box(), one.box()) >= 0.9F &&
                   std::fabs(other.confidence() - one.confidence()) <= 0.05F;
          });
    }
  }
};

TEST_F(OnnxruntimeEngineTest, AgreesWithOpenvinoOnEveryModel) {
  constexpr char kCoco[] = "coco128/images/val2017";
  for (const auto& [model, weights, folder, pictures] :
       {std::tuple{"animals", "yolov8n.onnx", kCoco, 40},
        {"animals_yolox", "yolox_nano.onnx", kCoco, 128},
        {"pothole", "pothole_yolov5nu_256.onnx", "potholes/images", 40}}) {
    std::vector<std::string> paths = Jpegs(folder);
    ASSERT_FALSE(paths.empty());
    paths.resize(std::min(paths.size(), static_cast<size_t>(pictures)));
    const auto onnxruntime =
        OnnxruntimeEngine::Create(OptionsOf<OnnxruntimeEngine>(model, weights));
    CAMHERD_ASSERT_OK(onnxruntime);
    const auto openvino =
        OpenvinoEngine::Create(OptionsOf<OpenvinoEngine>(model, weights));
    CAMHERD_ASSERT_OK(openvino);
    Agreement agreement;
    for (const std::string& path : paths) {
      const std::string jpeg = ReadFile(path, 16 << 20).value();
      const auto a = Infer(**onnxruntime, jpeg);
      const auto b = Infer(**openvino, jpeg);
      CAMHERD_ASSERT_OK(a);
      CAMHERD_ASSERT_OK(b);
      agreement.Add(a->detections, b->detections);
      agreement.Add(b->detections, a->detections);
    }
    std::cout << model << ": " << agreement.agreed << " of " << agreement.boxes
              << " boxes over 0.3 agree\n";
    EXPECT_GE(agreement.boxes, 20) << model;
    EXPECT_GE(agreement.agreed, 0.99 * agreement.boxes) << model;
  }
}

TEST_F(OnnxruntimeEngineTest, FindsTheDogInTheLeastRectangleToo) {
  options_.rectangular = true;
  options_.scaled_decoding = true;
  const auto engine = OnnxruntimeEngine::Create(options_);
  CAMHERD_ASSERT_OK(engine);
  EXPECT_EQ((*engine)->device(), "cpu");
  EXPECT_EQ((*engine)->precision(), "f32");
  const auto result = Infer(**engine, Dog());
  CAMHERD_ASSERT_OK(result);
  ASSERT_FALSE(result->detections.empty());
  EXPECT_EQ(result->detections[0].class_name(), "dog");
}

TEST_F(OnnxruntimeEngineTest, TakesPicturesOfAnyShapeInOneCall) {
  options_.rectangular = true;
  const auto engine = OnnxruntimeEngine::Create(options_);
  CAMHERD_ASSERT_OK(engine);
  std::vector<std::string> jpegs;
  std::vector<Picture> pictures;
  const std::vector<std::pair<int, int>> sizes = {
      {8, 8}, {63, 500}, {1920, 1080}, {1080, 1920}, {640, 480}, {1280, 720}};
  for (const auto& [width, height] : sizes) {
    jpegs.push_back(MakeJpeg(width, height));
  }
  jpegs.push_back(Dog());
  for (size_t i = 0; i < jpegs.size(); ++i) {
    const auto size = ReadJpegHeader(jpegs[i], 1 << 26);
    pictures.push_back(
        {static_cast<int>(i), jpegs[i], size->width, size->height});
  }
  const auto result = (*engine)->Infer(pictures, {});
  CAMHERD_ASSERT_OK(result);
  ASSERT_FALSE(result->detections.empty());
  EXPECT_EQ(result->detections.back().frame_index(), 6);
}

TEST_F(OnnxruntimeEngineTest, ListsABrokenPictureAndLooksAtTheOthers) {
  const auto engine = OnnxruntimeEngine::Create(options_);
  CAMHERD_ASSERT_OK(engine);
  const std::string dog = Dog();
  const auto size = ReadJpegHeader(dog, 1 << 26);
  const std::string cut = dog.substr(0, dog.size() / 2);
  const std::vector<Picture> pictures = {{0, cut, size->width, size->height},
                                         {1, dog, size->width, size->height}};
  const auto result = (*engine)->Infer(pictures, {});
  CAMHERD_ASSERT_OK(result);
  EXPECT_THAT(result->undecodable_frames, ElementsAre(0));
  ASSERT_FALSE(result->detections.empty());
  EXPECT_EQ(result->detections[0].frame_index(), 1);
}

TEST_F(OnnxruntimeEngineTest, CallersThatShareBatchesGetTheirOwnAnswers) {
  options_.max_batch = 3;
  const auto engine = OnnxruntimeEngine::Create(options_);
  CAMHERD_ASSERT_OK(engine);
  const std::string dog = Dog();
  const std::string nothing = MakeJpeg(640, 480);
  std::vector<std::thread> threads;
  std::vector<int> found(8, -1);
  for (size_t i = 0; i < found.size(); ++i) {
    threads.emplace_back([&, i] {
      // Other thresholds too: they are each picture's own.
      const auto result = Infer(**engine, i % 2 == 0 ? dog : nothing,
                                {.min_score = i % 4 == 0 ? 0.25 : 0.9999});
      if (result.ok()) found[i] = static_cast<int>(result->detections.size());
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (size_t i = 0; i < found.size(); ++i) {
    if (i % 4 == 0) {
      EXPECT_GT(found[i], 0) << i;
    } else {
      EXPECT_EQ(found[i], 0) << i;
    }
  }
}

TEST_F(OnnxruntimeEngineTest, ACallWithMorePicturesThanTurnsEnds) {
  options_.max_batch = 1;
  options_.rectangular = true;
  options_.scaled_decoding = true;
  const auto engine = OnnxruntimeEngine::Create(options_);
  CAMHERD_ASSERT_OK(engine);
  const std::string jpeg = MakeJpeg(64, 36);
  const std::vector<Picture> pictures(12, Picture{0, jpeg, 64, 36});
  CAMHERD_EXPECT_OK((*engine)->Infer(pictures, {}));
}

TEST_F(OnnxruntimeEngineTest, ANetworkOfAnotherShapeIsRefused) {
  options_.weights = DataDir() + "/weights/yolox_nano.onnx";
  EXPECT_THAT(
      OnnxruntimeEngine::Create(options_),
      StatusIs(absl::StatusCode::kInvalidArgument,
               HasSubstr("must have one float32 input [B, 3, 640, 640]")));
  options_.weights = DataDir() + "/weights/yolov8n.onnx";
  options_.class_names.pop_back();
  EXPECT_THAT(
      OnnxruntimeEngine::Create(options_),
      StatusIs(absl::StatusCode::kInvalidArgument,
               HasSubstr("output must be [1, 83, 8400] (yolov8, 79 classes")));
}

TEST_F(OnnxruntimeEngineTest, AFileThatIsNoNetworkIsRefusedInOneLine) {
  TempDir dir;
  options_.weights = dir.path() + "/broken.onnx";
  for (const std::string& bytes :
       {std::string(), std::string("garbage"), std::string(1000, '\0')}) {
    CAMHERD_ASSERT_OK(
        WriteFileAtomically(options_.weights, bytes, Sync::kNone));
    EXPECT_THAT(
        OnnxruntimeEngine::Create(options_),
        StatusIs(absl::StatusCode::kInvalidArgument,
                 AllOf(HasSubstr("broken.onnx"), Not(HasSubstr("\n")))));
  }
}

TEST_F(OnnxruntimeEngineTest, AProviderWithoutItsGpuSaysSo) {
  if (std::filesystem::exists("/dev/nvidiactl")) {
    GTEST_SKIP() << "there is a GPU";
  }
  for (const Provider provider : {Provider::kCuda, Provider::kTensorrt}) {
    options_.provider = provider;
    EXPECT_THAT(OnnxruntimeEngine::Create(options_),
                StatusIs(absl::StatusCode::kUnavailable,
                         AllOf(HasSubstr("CUDA"), Not(HasSubstr("\n")))));
  }
}

TEST_F(OnnxruntimeEngineTest, OnAGpuItAgreesWithTheProcessor) {
  options_.provider = Provider::kCuda;
  options_.tf32 = false;
  const auto gpu = OnnxruntimeEngine::Create(options_);
  if (absl::IsUnavailable(gpu.status())) GTEST_SKIP() << gpu.status();
  CAMHERD_ASSERT_OK(gpu);
  options_.provider = Provider::kCpu;
  const auto cpu = OnnxruntimeEngine::Create(options_);
  CAMHERD_ASSERT_OK(cpu);
  Agreement agreement;
  for (const std::string& path : Jpegs("images")) {
    const std::string jpeg = ReadFile(path, 16 << 20).value();
    const auto a = Infer(**gpu, jpeg);
    const auto b = Infer(**cpu, jpeg);
    CAMHERD_ASSERT_OK(a);
    CAMHERD_ASSERT_OK(b);
    agreement.Add(a->detections, b->detections);
    agreement.Add(b->detections, a->detections);
  }
  EXPECT_GT(agreement.boxes, 10);
  EXPECT_GE(agreement.agreed, 0.99 * agreement.boxes);
}

TEST_F(OnnxruntimeEngineTest, AStoppedEngineSaysSo) {
  const auto engine = OnnxruntimeEngine::Create(options_);
  CAMHERD_ASSERT_OK(engine);
  (*engine)->Stop();
  (*engine)->Stop();
  EXPECT_THAT(Infer(**engine, Dog()), StatusIs(absl::StatusCode::kUnavailable));
}

}  // namespace
}  // namespace camherd::inference
