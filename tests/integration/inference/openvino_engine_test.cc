// SPDX-License-Identifier: Apache-2.0
#include "services/inference/openvino_engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <openvino/openvino.hpp>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "services/common/file.h"
#include "services/inference/jpeg_decoder.h"
#include "services/inference/shared_bitmap.h"
#include "tests/support/status_matchers.h"
#include "tests/unit/inference/fakes.h"

namespace camherd::inference {
namespace {

using ::camherd::inference::testing::MakeJpeg;
using ::camherd::inference::testing::TempDir;
using ::camherd::testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

std::string WeightsDir() {
  const char* dir = std::getenv("CAMHERD_WEIGHTS_DIR");
  return dir != nullptr ? dir : CAMHERD_SOURCE_DIR "/../shared/data/weights";
}

// With the real networks; skipped where they are not.
class OpenvinoEngineTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(WeightsDir() + "/yolov8n_dynamic.onnx")) {
      GTEST_SKIP() << "no yolov8n_dynamic.onnx in " << WeightsDir();
    }
    const auto manifest =
        ModelManifest::Load(CAMHERD_SOURCE_DIR "/models/animals");
    CAMHERD_ASSERT_OK(manifest);
    options_.weights = WeightsDir() + "/yolov8n_dynamic.onnx";
    options_.input = manifest->input;
    options_.output = manifest->output;
    options_.class_names = manifest->class_names;
    options_.classes = manifest->classes;
    options_.cache_dir = dir_.path() + "/cache";
  }

  static std::string ReadPicture(const std::string& name) {
    return ReadFile(absl::StrCat(WeightsDir(), "/../images/", name), 16 << 20)
        .value();
  }

  static absl::StatusOr<InferResult> Infer(Engine& engine,
                                           const std::string& jpeg) {
    const auto size = ReadJpegHeader(jpeg, 1 << 26);
    const Picture picture = {0, jpeg, size.ok() ? size->width : 1,
                             size.ok() ? size->height : 1};
    return engine.Infer({picture}, {});
  }

  TempDir dir_;
  OpenvinoEngine::Options options_;
};

TEST_F(OpenvinoEngineTest, FindsTheDogInTheStreetAtEveryPrecisionAndShape) {
  const std::string jpeg = ReadPicture("dog_street.jpg");
  for (const char* precision : {"f32", "bf16"}) {
    for (const bool rectangular : {false, true}) {
      options_.precisions = {precision, "f32"};
      options_.rectangular = rectangular;
      options_.scaled_decoding = rectangular;
      const auto engine = OpenvinoEngine::Create(options_);
      CAMHERD_ASSERT_OK(engine);
      const auto result = Infer(**engine, jpeg);
      CAMHERD_ASSERT_OK(result);
      ASSERT_FALSE(result->detections.empty());
      EXPECT_EQ(result->detections[0].class_name(), "dog");
      EXPECT_GT(result->detections[0].confidence(), 0.5F);
    }
  }
}

TEST_F(OpenvinoEngineTest, FindsNothingOnAnEmptyRoad) {
  const auto engine = OpenvinoEngine::Create(options_);
  CAMHERD_ASSERT_OK(engine);
  const auto result = Infer(**engine, ReadPicture("empty_road.jpg"));
  CAMHERD_ASSERT_OK(result);
  EXPECT_TRUE(result->detections.empty());
}

TEST_F(OpenvinoEngineTest, KeepsTheCompiledNetworkOnDisk) {
  CAMHERD_ASSERT_OK(OpenvinoEngine::Create(options_));
  EXPECT_FALSE(std::filesystem::is_empty(options_.cache_dir));
  CAMHERD_EXPECT_OK(OpenvinoEngine::Create(options_));
}

TEST_F(OpenvinoEngineTest, TakesPicturesOfAnyShape) {
  const auto engine = OpenvinoEngine::Create(options_);
  CAMHERD_ASSERT_OK(engine);
  for (const auto& [width, height] : {std::pair{8, 8},
                                      {63, 500},
                                      {3840, 16},
                                      {1920, 1080},
                                      {1080, 1920},
                                      {640, 480},
                                      {16, 3840},
                                      {500, 500}}) {
    CAMHERD_EXPECT_OK(Infer(**engine, MakeJpeg(width, height)));
  }
}

TEST_F(OpenvinoEngineTest, ListsABrokenPictureAndLooksAtTheOthers) {
  const auto engine = OpenvinoEngine::Create(options_);
  CAMHERD_ASSERT_OK(engine);
  const std::string dog = ReadPicture("dog_street.jpg");
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

TEST_F(OpenvinoEngineTest, ManyCallersGetTheSameAnswerAsOne) {
  const auto engine = OpenvinoEngine::Create(options_);
  CAMHERD_ASSERT_OK(engine);
  const std::string jpeg = ReadPicture("horses.jpg");
  const auto alone = Infer(**engine, jpeg);
  CAMHERD_ASSERT_OK(alone);
  std::vector<std::thread> threads;
  std::vector<int> same(6, 0);
  for (size_t t = 0; t < same.size(); ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 3; ++i) {
        const auto result = Infer(**engine, jpeg);
        if (!result.ok() ||
            result->detections.size() != alone->detections.size()) {
          continue;
        }
        same[t] += result->detections[0].SerializeAsString() ==
                   alone->detections[0].SerializeAsString();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(same, ::testing::Each(3));
}

TEST_F(OpenvinoEngineTest, FindsTheSameInWhatAnotherModelDecoded) {
  const std::string jpeg = ReadPicture("dog_street.jpg");
  const auto size = ReadJpegHeader(jpeg, 1 << 26);
  CAMHERD_ASSERT_OK(size);
  // As parity with the Python path wants it; the other reads blue first.
  options_.scaled_decoding = false;
  const auto animals = OpenvinoEngine::Create(options_);
  CAMHERD_ASSERT_OK(animals);
  options_.input.color = "bgr";
  const auto other = OpenvinoEngine::Create(options_);
  CAMHERD_ASSERT_OK(other);
  const Picture picture = {0, jpeg, size->width, size->height};
  EXPECT_EQ((*animals)->DecodedSize(picture).width, size->width);

  SharedBitmap::Budget budget{int64_t{1} << 30};
  SharedBitmap shared((*animals)->DecodedSize(picture), budget);
  Picture decoded_once = picture;
  decoded_once.shared = &shared;
  for (Engine* engine : {other->get(), animals->get()}) {
    const auto alone = engine->Infer({picture}, {});
    const auto together = engine->Infer({decoded_once}, {});
    CAMHERD_ASSERT_OK(alone);
    CAMHERD_ASSERT_OK(together);
    ASSERT_FALSE(alone->detections.empty());
    ASSERT_EQ(together->detections.size(), alone->detections.size());
    for (size_t i = 0; i < alone->detections.size(); ++i) {
      EXPECT_EQ(together->detections[i].SerializeAsString(),
                alone->detections[i].SerializeAsString());
    }
  }
  EXPECT_EQ(budget.kept_bytes, int64_t{3} * size->width * size->height);
}

TEST_F(OpenvinoEngineTest, WantsAScaledPictureNoSmallerThanItsInput) {
  const auto engine = OpenvinoEngine::Create(options_);
  CAMHERD_ASSERT_OK(engine);
  const JpegSize wide = (*engine)->DecodedSize({0, "", 1920, 1080});
  EXPECT_EQ(wide.width, 640);
  EXPECT_EQ(wide.height, 360);
  const JpegSize high = (*engine)->DecodedSize({0, "", 600, 800});
  EXPECT_EQ(high.width, 480);
  EXPECT_EQ(high.height, 640);
}

TEST_F(OpenvinoEngineTest, ServesOnWhenItsFilesAreWrittenOver) {
  const std::string dog = ReadPicture("dog_street.jpg");
  for (const char* file : {"network.xml", "network.onnx"}) {
    const TempDir dir;
    if (file == std::string("network.xml")) {
      ov::save_model(
          ov::Core().read_model(WeightsDir() + "/yolov8n_dynamic.onnx"),
          dir / file);
    } else {
      std::filesystem::copy(WeightsDir() + "/yolov8n_dynamic.onnx", dir / file);
    }
    options_.weights = dir / file;
    options_.cache_dir = dir / "cache";
    const auto engine = OpenvinoEngine::Create(options_);
    CAMHERD_ASSERT_OK(engine);
    for (const auto& entry :
         std::filesystem::recursive_directory_iterator(dir.path())) {
      if (entry.is_regular_file()) {
        std::filesystem::permissions(entry.path(),
                                     std::filesystem::perms::owner_all);
        std::filesystem::resize_file(entry.path(), 1);
      }
    }
    const auto found = Infer(**engine, dog);
    CAMHERD_ASSERT_OK(found);
    EXPECT_FALSE(found->detections.empty());
    // Of a shape that is compiled only now.
    CAMHERD_EXPECT_OK(Infer(**engine, MakeJpeg(480, 640)));
    EXPECT_FALSE(OpenvinoEngine::Create(options_).ok());
  }
}

TEST_F(OpenvinoEngineTest, AnswersNothingMoreOnceStopped) {
  const auto engine = OpenvinoEngine::Create(options_);
  CAMHERD_ASSERT_OK(engine);
  (*engine)->Stop();
  EXPECT_THAT(Infer(**engine, MakeJpeg()),
              StatusIs(absl::StatusCode::kUnavailable));
}

TEST_F(OpenvinoEngineTest, SaysInOneLineWhyWeightsCannotBeLoaded) {
  const std::string good = ReadFile(options_.weights, 1 << 26).value();
  for (const std::string& bytes : {std::string(), std::string("not a network"),
                                   good.substr(0, good.size() / 2)}) {
    options_.weights = dir_.Write("bad.onnx", bytes);
    EXPECT_THAT(OpenvinoEngine::Create(options_).status(),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         AllOf(HasSubstr("bad.onnx cannot be loaded"),
                               Not(HasSubstr("\n")))))
        << bytes.size() << " bytes";
  }
}

TEST_F(OpenvinoEngineTest, NamesAnOutputThatDoesNotFitTheClasses) {
  options_.class_names.pop_back();
  EXPECT_THAT(OpenvinoEngine::Create(options_).status(),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("must be [1, 83, ")));
}

TEST_F(OpenvinoEngineTest, NamesAnInputThatDoesNotFitTheManifest) {
  options_.weights = WeightsDir() + "/yolov8n.onnx";
  options_.input.width = 320;
  EXPECT_THAT(OpenvinoEngine::Create(options_).status(),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("must have one input [1, 3, 640, 320]"),
                             HasSubstr("[1,3,640,640]"))));
}

}  // namespace
}  // namespace camherd::inference
