// SPDX-License-Identifier: Apache-2.0
#include "services/aggregator/camera_csv.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"

namespace camherd::aggregator {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

TEST(CameraCsvTest, ReadsDocumentAsFile) {
  const CameraCsv csv =
      ParseCameraCsv("cameraID,latitude,longitude\nCAM-001,26.4499,80.3319\n");
  EXPECT_THAT(csv.errors, IsEmpty());
  ASSERT_THAT(csv.rows, SizeIs(1));
  EXPECT_EQ(csv.rows[0].camera_id, "CAM-001");
  EXPECT_EQ(csv.rows[0].latitude, 26.4499);
  EXPECT_EQ(csv.rows[0].longitude, 80.3319);
  EXPECT_EQ(csv.rows[0].line, 2);
  EXPECT_FALSE(csv.rows[0].has_name);
}

TEST(CameraCsvTest, TakesMarkCrlfQuotesOtherColumnsAndAnyOrder) {
  const CameraCsv csv = ParseCameraCsv(
      "\xEF\xBB\xBFname,Longitude , LATITUDE,cameraid,note\r\n"
      "\"Gate \"\"A\"\", north\nside\",80.5,26,CAM-1,x\r\n"
      "\r\n"
      " Plain , 81 , \"27\" , CAM-2\r\n");
  EXPECT_THAT(csv.errors, IsEmpty());
  ASSERT_THAT(csv.rows, SizeIs(2));
  EXPECT_EQ(csv.rows[0].name, "Gate \"A\", north\nside");
  EXPECT_EQ(csv.rows[1].name, "Plain");
  EXPECT_EQ(csv.rows[1].latitude, 27);
  EXPECT_EQ(csv.rows[1].line, 5);
}

TEST(CameraCsvTest, ReportsBadRowsByLineAndLoadsTheOthers) {
  const CameraCsv csv = ParseCameraCsv(
      "cameraID,latitude,longitude\n"
      "CAM-1,26,80\n"
      "CAM-2,90.5,80\n"
      "CAM-3,26\n"
      "../x,26,80\n"
      "CAM-1,27,81\n"
      "CAM-4,nan,80\n"
      "CAM-5,-90,180\n"
      "CAM-6,\"26,80\n");
  ASSERT_THAT(csv.rows, SizeIs(2));
  EXPECT_EQ(csv.rows[0].latitude, 26);
  EXPECT_EQ(csv.rows[1].camera_id, "CAM-5");
  ASSERT_THAT(csv.errors, SizeIs(6));
  EXPECT_EQ(csv.errors[0].line(), 3);
  EXPECT_THAT(csv.errors[0].message(),
              HasSubstr("latitude must be a number in [-90, 90], got \"90.5"));
  EXPECT_EQ(csv.errors[1].line(), 4);
  EXPECT_THAT(csv.errors[1].message(), HasSubstr("longitude"));
  EXPECT_THAT(csv.errors[2].message(), HasSubstr("cameraID"));
  EXPECT_THAT(csv.errors[3].message(), HasSubstr("is on line 2 already"));
  EXPECT_EQ(csv.errors[3].line(), 6);
  EXPECT_THAT(csv.errors[4].message(), HasSubstr("latitude"));
  EXPECT_THAT(csv.errors[5].message(), HasSubstr("not closed"));
}

TEST(CameraCsvTest, ANameInAnotherEncodingIsABadRow) {
  const CameraCsv csv = ParseCameraCsv(
      "cameraID,latitude,longitude,name\n"
      "CAM-1,26,80,T\xFCr\n"
      "CAM-2,26,80,T\u00fcr\n");
  ASSERT_THAT(csv.rows, SizeIs(1));
  EXPECT_EQ(csv.rows[0].name, "T\u00fcr");
  ASSERT_THAT(csv.errors, SizeIs(1));
  EXPECT_EQ(csv.errors[0].line(), 2);
  EXPECT_EQ(csv.errors[0].message(), "name must be UTF-8, got \"T\\xfcr\"");
}

TEST(CameraCsvTest, ANameThatPosesAsAnotherIsABadRow) {
  const CameraCsv csv = ParseCameraCsv(
      "cameraID,latitude,longitude,name\n"
      "CAM-1,26,80,gate\u202e1\n");
  EXPECT_THAT(csv.rows, IsEmpty());
  ASSERT_THAT(csv.errors, SizeIs(1));
  EXPECT_THAT(csv.errors[0].message(),
              HasSubstr("direction of writing, got \"gate\\xe2\\x80\\xae"));
}

TEST(CameraCsvTest, RowsThatCannotBeUsedAreToldUpToALimit) {
  std::string text = "cameraID,latitude,longitude\n";
  for (int i = 0; i < 5000; ++i) text += "/\n";
  const CameraCsv csv = ParseCameraCsv(text + "CAM-1,26,80\n");
  EXPECT_THAT(csv.rows, SizeIs(1));
  ASSERT_THAT(csv.errors, SizeIs(1001));
  EXPECT_EQ(csv.errors[999].line(), 1001);
  EXPECT_EQ(csv.errors[1000].line(), 1002);
  EXPECT_EQ(csv.errors[1000].message(),
            "from here on 4000 more rows cannot be used");
}

TEST(CameraCsvTest, TooManyCamerasAreNone) {
  std::string text = "cameraID,latitude,longitude\n";
  for (size_t i = 0; i < kMaxCameras; ++i)
    absl::StrAppend(&text, "C", i, ",1,2\n");
  EXPECT_THAT(ParseCameraCsv(text).rows, SizeIs(kMaxCameras));
  const CameraCsv csv = ParseCameraCsv(text + "one-more,1,2\n");
  EXPECT_THAT(csv.rows, IsEmpty());
  ASSERT_THAT(csv.errors, SizeIs(1));
  EXPECT_EQ(csv.errors[0].line(), 1);
  EXPECT_EQ(csv.errors[0].message(), "the file has more than 100000 cameras");
}

TEST(CameraCsvTest, SaysWhichColumnIsMissing) {
  const CameraCsv csv = ParseCameraCsv("cameraID,latitude\nCAM-1,26\n");
  EXPECT_THAT(csv.rows, IsEmpty());
  ASSERT_THAT(csv.errors, SizeIs(1));
  EXPECT_EQ(csv.errors[0].line(), 1);
  EXPECT_THAT(csv.errors[0].message(), HasSubstr("longitude is missing"));
}

TEST(CameraCsvTest, AnEmptyFileIsAnError) {
  EXPECT_THAT(ParseCameraCsv("").errors, SizeIs(1));
}

TEST(CameraCsvTest, RowsThatSayTheSameCompareEqual) {
  const CameraCsv a =
      ParseCameraCsv("cameraID,latitude,longitude\nCAM-1,26.50,80\n");
  const CameraCsv b =
      ParseCameraCsv("longitude,latitude,cameraID\n\"80.0\", 26.5,CAM-1\n");
  ASSERT_THAT(a.rows, SizeIs(1));
  ASSERT_THAT(b.rows, SizeIs(1));
  EXPECT_EQ(a.rows[0].canonical, b.rows[0].canonical);
}

}  // namespace
}  // namespace camherd::aggregator
