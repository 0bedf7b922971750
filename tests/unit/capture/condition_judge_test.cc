// SPDX-License-Identifier: Apache-2.0
#include "services/capture/condition_judge.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <opencv2/core.hpp>
#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>
#include <string>
#include <vector>

#include "services/capture/luma_meter.h"

namespace camherd::capture {
namespace {

v1::PictureLook GoodLook(uint64_t fingerprint) {
  v1::PictureLook look;
  look.set_mean(120);
  look.set_contrast(50);
  look.set_sharpness(100);
  look.set_fingerprint(fingerprint);
  return look;
}

v1::PictureLook DarkLook(uint64_t fingerprint) {
  v1::PictureLook look = GoodLook(fingerprint);
  look.set_mean(5);
  return look;
}

v1::PictureLook LookAt(const cv::Mat& luma) {
  LumaMeter meter;
  for (int y = 0; y < luma.rows; y += LumaMeter::kStep) {
    meter.AddRow(luma.ptr<uint8_t>(y), luma.cols);
  }
  return meter.Look();
}

// What is told of a camera whose pictures look like that.
v1::CameraCondition ConditionOf(v1::PictureLook look) {
  ConditionJudge judge({});
  for (uint64_t i = 1; i <= 3; ++i) {
    look.set_fingerprint(i);
    judge.Observe(look);
  }
  return judge.condition();
}

TEST(ConditionJudgeTest, ThatAllIsWellIsToldOfTheFirstPicture) {
  ConditionJudge judge({});
  EXPECT_EQ(judge.condition(), v1::CAMERA_CONDITION_UNSPECIFIED);
  EXPECT_TRUE(judge.Observe(GoodLook(1)));
  EXPECT_EQ(judge.condition(), v1::CAMERA_CONDITION_GOOD);
  EXPECT_FALSE(judge.Observe(GoodLook(2)));
}

TEST(ConditionJudgeTest, IllIsToldAfterSomePicturesInARow) {
  ConditionJudge judge({});
  uint64_t n = 0;
  judge.Observe(GoodLook(++n));
  EXPECT_FALSE(judge.Observe(DarkLook(++n)));
  EXPECT_FALSE(judge.Observe(DarkLook(++n)));
  EXPECT_FALSE(judge.Observe(GoodLook(++n)));
  EXPECT_FALSE(judge.Observe(DarkLook(++n)));
  EXPECT_FALSE(judge.Observe(DarkLook(++n)));
  EXPECT_TRUE(judge.Observe(DarkLook(++n)));
  EXPECT_EQ(judge.condition(), v1::CAMERA_CONDITION_TOO_DARK);
  EXPECT_FALSE(judge.Observe(GoodLook(++n)));
  EXPECT_FALSE(judge.Observe(GoodLook(++n)));
  EXPECT_TRUE(judge.Observe(GoodLook(++n)));
  EXPECT_EQ(judge.condition(), v1::CAMERA_CONDITION_GOOD);
}

TEST(ConditionJudgeTest, TheSamePictureAgainAndAgainIsFrozen) {
  ConditionJudge judge({.frozen_samples = 4});
  judge.Observe(GoodLook(7));
  EXPECT_FALSE(judge.Observe(GoodLook(7)));
  EXPECT_FALSE(judge.Observe(GoodLook(7)));
  EXPECT_TRUE(judge.Observe(GoodLook(7)));
  EXPECT_EQ(judge.condition(), v1::CAMERA_CONDITION_FROZEN);
  // It moves again.
  for (uint64_t i = 8; i <= 10; ++i) judge.Observe(GoodLook(i));
  EXPECT_EQ(judge.condition(), v1::CAMERA_CONDITION_GOOD);
}

TEST(ConditionJudgeTest, RealPicturesAreGoodAndSpoiltOnesAreNot) {
  const std::filesystem::path data = CAMHERD_SHARED_DATA_DIR;
  std::vector<std::filesystem::path> paths;
  std::error_code error;
  for (const char* folder :
       {"images", "coco128/images/val2017", "potholes/images"}) {
    for (const auto& entry :
         std::filesystem::directory_iterator(data / folder, error)) {
      if (entry.path().extension() == ".jpg") paths.push_back(entry.path());
    }
  }
  if (paths.empty()) GTEST_SKIP() << "no pictures in " << data;
  int blurred = 0;
  for (const std::filesystem::path& path : paths) {
    const cv::Mat luma = cv::imread(path.string(), cv::IMREAD_GRAYSCALE);
    const bool overexposed =
        path.filename() == "overexposed_dog_street_derived.jpg";
    EXPECT_EQ(ConditionOf(LookAt(luma)), overexposed
                                             ? v1::CAMERA_CONDITION_OVEREXPOSED
                                             : v1::CAMERA_CONDITION_GOOD)
        << path;
    cv::Mat spoilt;
    luma.convertTo(spoilt, -1, 0.05);
    EXPECT_EQ(ConditionOf(LookAt(spoilt)), v1::CAMERA_CONDITION_TOO_DARK)
        << path;
    // A hand before the lens: hardly any light comes through, of one colour.
    luma.convertTo(spoilt, -1, 0.03, 60);
    EXPECT_EQ(ConditionOf(LookAt(spoilt)), v1::CAMERA_CONDITION_COVERED)
        << path;
    cv::GaussianBlur(luma, spoilt, {}, 6);
    blurred +=
        ConditionOf(LookAt(spoilt)) == v1::CAMERA_CONDITION_BLURRED ? 1 : 0;
  }
  const auto all = static_cast<int>(paths.size());
  std::cout << blurred << " of " << all << " blurred pictures told\n";
  EXPECT_GE(blurred, all * 9 / 10);
}

}  // namespace
}  // namespace camherd::capture
