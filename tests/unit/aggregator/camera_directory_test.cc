// SPDX-License-Identifier: Apache-2.0
#include "services/aggregator/camera_directory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>

#include "services/aggregator/sqlite_record_store.h"
#include "tests/support/fake_clock.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"
#include "tests/unit/aggregator/aggregator_testing.h"

namespace camherd::aggregator {
namespace {

using ::camherd::aggregator::testing::MakeMetrics;
using ::camherd::aggregator::testing::WriteText;
using ::camherd::testing::FakeClock;
using ::camherd::testing::IsOk;
using ::camherd::testing::StatusIs;
using ::camherd::testing::TempDir;
using ::testing::HasSubstr;
using ::testing::SizeIs;

class CameraDirectoryTest : public ::testing::Test {
 protected:
  CameraDirectoryTest()
      : store_(SqliteRecordStore::Create({.data_dir = dir_.path()}, clock_)
                   .value()) {
    Open();
  }

  void Open() {
    cameras_ = nullptr;
    cameras_ =
        CameraDirectory::Create({.csv_path = csv_}, *store_, clock_, *metrics_)
            .value();
  }

  // Writes the file and looks at it; each text has another length, so that the
  // change is seen whatever the clock of the file system.
  void PutCsv(const std::string& rows) {
    padding_ += "\n";
    WriteText(csv_, "cameraID,latitude,longitude\n" + rows + padding_);
    cameras_->PollCsv();
  }

  double Latitude(const std::string& id) {
    return cameras_->Find(id).value_or(v1::Camera()).latitude();
  }

  void SetLatitude(const std::string& id, double latitude) {
    v1::Camera camera = cameras_->Find(id).value_or(v1::Camera());
    camera.set_camera_id(id);
    camera.set_latitude(latitude);
    camera.set_longitude(80);
    ASSERT_THAT(cameras_->Upsert(camera), IsOk());
  }

  TempDir dir_;
  FakeClock clock_;
  std::unique_ptr<AggregatorMetrics> metrics_ = MakeMetrics();
  std::unique_ptr<SqliteRecordStore> store_;
  const std::string csv_ = dir_ / "camera_data.csv";
  std::string padding_;
  std::unique_ptr<CameraDirectory> cameras_;
};

TEST_F(CameraDirectoryTest, AMissingFileIsFine) {
  EXPECT_FALSE(cameras_->Find("CAM-1").has_value());
}

TEST_F(CameraDirectoryTest, ImportsTheFileAtStartAndWhenItChanges) {
  WriteText(csv_, "cameraID,latitude,longitude\nCAM-1,26,80\n");
  Open();
  EXPECT_EQ(Latitude("CAM-1"), 26);
  PutCsv("CAM-1,27,80\nCAM-2,91,80\nCAM-3,28,80\n");
  EXPECT_EQ(Latitude("CAM-1"), 27);
  EXPECT_FALSE(cameras_->Find("CAM-2").has_value());
  EXPECT_EQ(Latitude("CAM-3"), 28);
  EXPECT_EQ(cameras_->Find("CAM-3")->updated_by(), "csv");
}

TEST_F(CameraDirectoryTest, AnApiEditWinsOverARowThatDidNotChange) {
  PutCsv("CAM-1,26,80\n");
  SetLatitude("CAM-1", 10);
  PutCsv("CAM-1,26,80\nCAM-2,1,1\n");
  EXPECT_EQ(Latitude("CAM-1"), 10);
  EXPECT_EQ(cameras_->Find("CAM-1")->updated_by(), "api");
}

TEST_F(CameraDirectoryTest, ARowThatChangedWinsOverAnEarlierApiEdit) {
  PutCsv("CAM-1,26,80\n");
  SetLatitude("CAM-1", 10);
  PutCsv("CAM-1,26.5,80\n");
  EXPECT_EQ(Latitude("CAM-1"), 26.5);
  SetLatitude("CAM-1", 11);
  EXPECT_EQ(Latitude("CAM-1"), 11);
}

TEST_F(CameraDirectoryTest, TheRuleHoldsOverARestart) {
  PutCsv("CAM-1,26,80\n");
  SetLatitude("CAM-1", 10);
  Open();
  EXPECT_EQ(Latitude("CAM-1"), 10);
  PutCsv("CAM-1,26.5,80\n");
  Open();
  EXPECT_EQ(Latitude("CAM-1"), 26.5);
}

TEST_F(CameraDirectoryTest, ARowSetsOnlyWhatTheFileHas) {
  v1::Camera camera;
  camera.set_camera_id("CAM-1");
  camera.set_name("North gate");
  camera.add_zones()->set_name("road");
  for (int i = 0; i < 3; ++i) {
    camera.mutable_zones(0)->mutable_area()->add_points()->set_x(0.1 * i);
  }
  ASSERT_THAT(cameras_->Upsert(camera), IsOk());
  PutCsv("CAM-1,26,80\n");
  EXPECT_EQ(cameras_->Find("CAM-1")->name(), "North gate");
  EXPECT_EQ(cameras_->Find("CAM-1")->zones_size(), 1);
  EXPECT_EQ(Latitude("CAM-1"), 26);
}

TEST_F(CameraDirectoryTest, ACameraWhoseRowIsGoneStays) {
  PutCsv("CAM-1,26,80\n");
  PutCsv("CAM-2,27,80\n");
  EXPECT_EQ(Latitude("CAM-1"), 26);
}

TEST_F(CameraDirectoryTest, ImportSaysWhatItDid) {
  auto response = cameras_->Import(
      "cameraID,latitude,longitude\nCAM-1,26,80\nCAM-2,95,80\n");
  ASSERT_THAT(response, IsOk());
  EXPECT_EQ(response->added(), 1);
  ASSERT_THAT(response->errors(), SizeIs(1));
  EXPECT_EQ(response->errors(0).line(), 3);
  response =
      cameras_->Import("cameraID,latitude,longitude\nCAM-1,27,80\nCAM-3,1,1\n");
  EXPECT_EQ(response->added(), 1);
  EXPECT_EQ(response->updated(), 1);
  response =
      cameras_->Import("cameraID,latitude,longitude\nCAM-1,27,80\nCAM-3,1,1\n");
  EXPECT_EQ(response->unchanged(), 2);
  EXPECT_THAT(cameras_->Import("id,lat\n1,2\n"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("cameraID is missing")));
}

TEST_F(CameraDirectoryTest, RefusesABadCameraByFieldAndValue) {
  v1::Camera camera;
  EXPECT_THAT(
      cameras_->Upsert(camera),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("camera_id")));
  camera.set_camera_id("CAM-1");
  camera.set_latitude(91);
  camera.set_longitude(0);
  EXPECT_THAT(cameras_->Upsert(camera),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("latitude must be in [-90, 90], got 91")));
  camera.clear_latitude();
  EXPECT_THAT(
      cameras_->Upsert(camera),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("together")));
}

TEST_F(CameraDirectoryTest, ListsInOrderOfIdFromAfterTheOneGiven) {
  PutCsv("C,1,1\nA,1,1\nB,1,1\n");
  const auto all = cameras_->List("", 10);
  ASSERT_THAT(all, SizeIs(3));
  EXPECT_EQ(all[0].camera_id(), "A");
  const auto rest = cameras_->List("A", 1);
  ASSERT_THAT(rest, SizeIs(1));
  EXPECT_EQ(rest[0].camera_id(), "B");
}

}  // namespace
}  // namespace camherd::aggregator
