// SPDX-License-Identifier: Apache-2.0
#include "services/inference/hog_engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "services/common/file.h"
#include "services/inference/jpeg_decoder.h"
#include "tests/support/status_matchers.h"
#include "tests/unit/inference/broken_jpegs.h"
#include "tests/unit/inference/fakes.h"

namespace camherd::inference {
namespace {

using ::camherd::inference::testing::BrokenJpeg;
using ::camherd::inference::testing::BrokenJpegs;
using ::camherd::inference::testing::MakeJpeg;
using ::camherd::testing::StatusIs;
using ::testing::ElementsAre;

class HogEngineTest : public ::testing::Test {
 protected:
  // Empty where the shared pictures are not there.
  static std::string ReadPicture(const std::string& name) {
    const char* dir = std::getenv("CAMHERD_WEIGHTS_DIR");
    const std::string images = dir != nullptr ? absl::StrCat(dir, "/../images")
                                              : CAMHERD_SOURCE_DIR
                                   "/../shared/data/images";
    return ReadFile(absl::StrCat(images, "/", name), 16 << 20).value_or("");
  }

  absl::StatusOr<InferResult> Infer(const std::string& jpeg,
                                    double min_score = 0.6) {
    const auto size = ReadJpegHeader(jpeg, 1 << 26);
    const Picture picture = {0, jpeg, size.ok() ? size->width : 1,
                             size.ok() ? size->height : 1};
    return engine_->Infer({picture}, {.min_score = min_score, .nms_iou = 0.4});
  }

  std::unique_ptr<HogEngine> engine_ = HogEngine::Create({}).value();
};

TEST_F(HogEngineTest, FindsPeopleInARealPicture) {
  const std::string bus = ReadPicture("bus.jpg");
  if (bus.empty()) GTEST_SKIP() << "no ../shared/data/images/bus.jpg";
  const auto result = Infer(bus);
  CAMHERD_ASSERT_OK(result);
  EXPECT_GE(result->detections.size(), 2U);
  for (const auto& person : result->detections) {
    EXPECT_EQ(person.class_name(), "person");
    EXPECT_GE(person.confidence(), 0.6F);
    EXPECT_LE(person.confidence(), 1.0F);
    EXPECT_GT(person.box().y2() - person.box().y1(), 100);
    EXPECT_LE(person.box().x2(), 810);
    EXPECT_LE(person.box().y2(), 1080);
  }
}

TEST_F(HogEngineTest, FindsNobodyOnAnEmptyRoad) {
  const std::string road = ReadPicture("empty_road.jpg");
  if (road.empty()) GTEST_SKIP() << "no ../shared/data/images/empty_road.jpg";
  const auto result = Infer(road);
  CAMHERD_ASSERT_OK(result);
  EXPECT_TRUE(result->detections.empty());
}

TEST_F(HogEngineTest, TakesPicturesOfAnySize) {
  for (const auto& [width, height] :
       {std::pair{8, 8}, {63, 500}, {64, 128}, {3840, 16}, {1920, 1080}}) {
    CAMHERD_EXPECT_OK(Infer(MakeJpeg(width, height), 0));
  }
}

TEST_F(HogEngineTest, ListsBrokenPicturesAndLooksAtTheOthers) {
  const std::string good = MakeJpeg();
  for (const BrokenJpeg& broken : BrokenJpegs()) {
    const std::vector<Picture> pictures = {
        {0, good, 64, 48}, {1, broken.bytes, 160, 120}, {2, good, 64, 48}};
    const auto result = engine_->Infer(pictures, {});
    CAMHERD_ASSERT_OK(result) << broken.name;
    EXPECT_THAT(result->undecodable_frames, ElementsAre(1)) << broken.name;
  }
}

TEST_F(HogEngineTest, PicturesTakeTurnsWithThoseOfALargeBatch) {
  const std::string jpeg = MakeJpeg(640, 480);
  std::atomic<bool> large_is_done = false;
  std::thread large([&] {
    const std::vector<Picture> pictures(64, {0, jpeg, 640, 480});
    CAMHERD_EXPECT_OK(engine_->Infer(pictures, {}));
    large_is_done = true;
  });
  for (int i = 0; i < 3; ++i) CAMHERD_EXPECT_OK(Infer(jpeg));
  EXPECT_FALSE(large_is_done);
  large.join();
}

TEST_F(HogEngineTest, AnswersNothingMoreOnceStopped) {
  engine_->Stop();
  EXPECT_THAT(Infer(MakeJpeg()), StatusIs(absl::StatusCode::kUnavailable));
}

}  // namespace
}  // namespace camherd::inference
