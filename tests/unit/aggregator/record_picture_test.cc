// SPDX-License-Identifier: Apache-2.0
#include "services/aggregator/record_picture.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "tests/support/status_matchers.h"
#include "tests/unit/aggregator/picture_testing.h"

namespace camherd::aggregator {
namespace {

using ::camherd::aggregator::testing::AddDetection;
using ::camherd::aggregator::testing::DecodeJpeg;
using ::camherd::aggregator::testing::MakeHeader;
using ::camherd::aggregator::testing::MakeJpeg;
using ::camherd::testing::IsOk;
using ::camherd::testing::StatusIs;
using ::testing::HasSubstr;
using ::testing::SizeIs;

v1::Record DogInFrameTwo() {
  v1::AddBatchResultHeader header = MakeHeader("s", 1, 3);
  AddDetection(header, "dog", 2, 0.9F);
  return BuildRecord(header, std::nullopt);
}

TEST(RecordPictureTest, ShowsTheEvidenceUnlessTheFirstFrameIsAsked) {
  const v1::Record record = DogInFrameTwo();
  EXPECT_EQ(ChoosePicture(record, "", false).value(), 2);
  EXPECT_EQ(ChoosePicture(record, "stray_animal", false).value(), 2);
  EXPECT_EQ(ChoosePicture(record, "stray_animal", true).value(), 0);
  EXPECT_THAT(ChoosePicture(record, "pothole", false),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("pothole")));
}

TEST(RecordPictureTest, ShowsTheFirstFrameWhereThereIsNoEvidence) {
  EXPECT_EQ(
      ChoosePicture(BuildRecord(MakeHeader("s", 1), std::nullopt), "", false)
          .value(),
      0);
}

TEST(RecordPictureTest, DrawsTheBoxesOfItsFrameOnly) {
  const v1::Record record = DogInFrameTwo();
  EXPECT_THAT(DetectionsOf(record, 0), SizeIs(0));
  ASSERT_THAT(DetectionsOf(record, 2), SizeIs(1));
  const std::string plain = MakeJpeg(640, 360, cv::Scalar::all(0));
  const auto drawn = DrawRecordPicture(plain, DetectionsOf(record, 2), 0);
  ASSERT_THAT(drawn, IsOk());
  const cv::Mat picture = DecodeJpeg(*drawn);
  ASSERT_EQ(picture.cols, 640);
  // The left side of the box 10,20 - 110,220, and a place inside it.
  EXPECT_GT(cv::norm(picture.at<cv::Vec3b>(120, 10)), 60);
  EXPECT_LT(cv::norm(picture.at<cv::Vec3b>(120, 60)), 30);
}

TEST(RecordPictureTest, ScalesToTheWidthAsked) {
  const std::string jpeg = MakeJpeg(640, 360, cv::Scalar::all(99));
  const auto small = DrawRecordPicture(jpeg, {}, 160);
  ASSERT_THAT(small, IsOk());
  EXPECT_EQ(DecodeJpeg(*small).cols, 160);
  EXPECT_EQ(DecodeJpeg(*small).rows, 90);
  EXPECT_EQ(DrawRecordPicture(jpeg, {}, 0).value(), jpeg);
  EXPECT_EQ(DrawRecordPicture(jpeg, {}, 640).value(), jpeg);
}

TEST(RecordPictureTest, RefusesWidthsThatMakeAGiant) {
  EXPECT_THAT(
      DrawRecordPicture(MakeJpeg(16, 160, cv::Scalar::all(9)), {}, 7680),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("7680")));
}

TEST(RecordPictureTest, BoxesBeyondThePictureDoNoHarm) {
  v1::Detection wild;
  wild.set_class_name(std::string(300, 'x'));
  wild.mutable_box()->set_x1(-1e9F);
  wild.mutable_box()->set_y2(1e9F);
  EXPECT_THAT(
      DrawRecordPicture(MakeJpeg(20, 20, cv::Scalar::all(9)), {wild}, 0),
      IsOk());
}

}  // namespace
}  // namespace camherd::aggregator
