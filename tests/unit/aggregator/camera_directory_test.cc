// SPDX-License-Identifier: Apache-2.0
#include "services/aggregator/camera_directory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
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

TEST_F(CameraDirectoryTest, RefusesANameThatPosesAsAnother) {
  v1::Camera camera;
  camera.set_camera_id("CAM-1");
  for (const char* name : {"gate\u202e1", "\x1b[31mgate"}) {
    camera.set_name(name);
    EXPECT_THAT(cameras_->Upsert(camera),
                StatusIs(absl::StatusCode::kInvalidArgument))
        << name;
  }
  EXPECT_FALSE(cameras_->Find("CAM-1").has_value());
}

TEST_F(CameraDirectoryTest, ThereMayBeOnlySoMany) {
  cameras_ = nullptr;
  cameras_ =
      CameraDirectory::Create({.max_cameras = 2}, *store_, clock_, *metrics_)
          .value();
  const std::string csv = "cameraID,latitude,longitude\nC1,1,2\nC2,1,2\n";
  ASSERT_THAT(cameras_->Import(csv), IsOk());
  EXPECT_THAT(
      cameras_->Import("cameraID,latitude,longitude\nC1,3,4\nNEW,1,2\n"),
      StatusIs(absl::StatusCode::kResourceExhausted,
               HasSubstr("at most 2 cameras: there are 2, and 1 would be")));
  EXPECT_EQ(Latitude("C1"), 1);
  v1::Camera camera;
  camera.set_camera_id("NEW");
  EXPECT_THAT(cameras_->Upsert(camera),
              StatusIs(absl::StatusCode::kResourceExhausted));
  camera.set_camera_id("C1");
  EXPECT_THAT(cameras_->Upsert(camera), IsOk());
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

class CameraAreasTest : public CameraDirectoryTest {
 protected:
  static void AddTriangle(v1::Polygon& polygon) {
    for (const double x : {0.1, 0.5, 0.9}) {
      v1::Point& point = *polygon.add_points();
      point.set_x(x);
      point.set_y(x == 0.5 ? 1 : 0);
    }
  }

  // A camera that has one of all, and is good.
  static v1::Camera Camera() {
    v1::Camera camera;
    camera.set_camera_id("CAM-1");
    AddTriangle(*camera.add_privacy_masks());
    v1::Zone& zone = *camera.add_zones();
    zone.set_name("road");
    AddTriangle(*zone.mutable_area());
    zone.add_classes("dog");
    (*camera.mutable_class_thresholds())["dog"] = 0.5;
    camera.add_classes("dog");
    return camera;
  }

  void ExpectRefused(const v1::Camera& camera, const std::string& message) {
    EXPECT_THAT(
        cameras_->Upsert(camera),
        StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(message)));
    EXPECT_FALSE(cameras_->Find("CAM-1").has_value());
  }
};

TEST_F(CameraAreasTest, AreKeptOverARestart) {
  const v1::Camera stored = cameras_->Upsert(Camera()).value();
  Open();
  EXPECT_EQ(cameras_->Find("CAM-1")->SerializeAsString(),
            stored.SerializeAsString());
  EXPECT_EQ(stored.privacy_masks(0).points(1).y(), 1);
}

TEST_F(CameraAreasTest, AnUpsertReplacesThemAndACsvRowDoesNot) {
  ASSERT_THAT(cameras_->Upsert(Camera()), IsOk());
  PutCsv("CAM-1,26,80\n");
  EXPECT_EQ(cameras_->Find("CAM-1")->privacy_masks_size(), 1);
  EXPECT_EQ(cameras_->Find("CAM-1")->zones_size(), 1);
  EXPECT_EQ(cameras_->Find("CAM-1")->classes_size(), 1);
  SetLatitude("CAM-2", 1);
  v1::Camera bare;
  bare.set_camera_id("CAM-1");
  ASSERT_THAT(cameras_->Upsert(bare), IsOk());
  EXPECT_EQ(cameras_->Find("CAM-1")->privacy_masks_size(), 0);
  EXPECT_FALSE(cameras_->Find("CAM-1")->has_latitude());
}

TEST_F(CameraAreasTest, RefusesABadMask) {
  v1::Camera camera = Camera();
  camera.mutable_privacy_masks(0)->mutable_points()->RemoveLast();
  ExpectRefused(camera, "privacy_masks[0].points must number 3..64, got 2");
  camera = Camera();
  for (int i = 3; i < 65; ++i) camera.mutable_privacy_masks(0)->add_points();
  ExpectRefused(camera, "privacy_masks[0].points must number 3..64, got 65");
  for (const double bad : {-0.01, 1.01, std::nan(""), HUGE_VAL}) {
    camera = Camera();
    camera.mutable_privacy_masks(0)->mutable_points(2)->set_y(bad);
    ExpectRefused(camera, "privacy_masks[0].points[2].y must be in [0, 1]");
  }
  camera = Camera();
  for (int i = 1; i < 33; ++i) AddTriangle(*camera.add_privacy_masks());
  ExpectRefused(camera, "privacy_masks must number at most 32, got 33");
}

TEST_F(CameraAreasTest, RefusesABadZone) {
  v1::Camera camera = Camera();
  *camera.add_zones() = camera.zones(0);
  ExpectRefused(camera, "zones[1].name must be unique in zones, got \"road\"");
  for (const std::string& bad :
       {std::string(), std::string(65, 'a'), std::string("a\nb")}) {
    camera = Camera();
    camera.mutable_zones(0)->set_name(bad);
    ExpectRefused(camera, "zones[0].name must have 1..64 bytes");
  }
  camera.mutable_zones(0)->set_name("a\u202eb");
  ExpectRefused(camera, "zones[0].name must be text without characters");
  camera = Camera();
  camera.mutable_zones(0)->clear_area();
  ExpectRefused(camera, "zones[0].area.points must number 3..64, got 0");
  camera = Camera();
  camera.mutable_zones(0)->add_classes("");
  ExpectRefused(camera, "zones[0].classes[1] must have 1..64 bytes, got \"\"");
  camera = Camera();
  for (int i = 1; i < 33; ++i) {
    *camera.add_zones() = camera.zones(0);
    camera.mutable_zones(i)->set_name(std::string(static_cast<size_t>(i), 'z'));
  }
  ExpectRefused(camera, "zones must number at most 32, got 33");
}

TEST_F(CameraAreasTest, RefusesABadThresholdOrClass) {
  v1::Camera camera = Camera();
  (*camera.mutable_class_thresholds())["cow"] = 1.5;
  ExpectRefused(camera, "class_thresholds.cow must be in [0, 1], got 1.5");
  camera = Camera();
  (*camera.mutable_class_thresholds())["cow"] = std::nan("");
  ExpectRefused(camera, "class_thresholds.cow must be in [0, 1], got nan");
  camera = Camera();
  for (int i = 0; i < 101; ++i) camera.add_classes("dog");
  ExpectRefused(camera, "classes must number at most 100, got 102");
}

TEST_F(CameraDirectoryTest, EveryChangeRaisesTheRevision) {
  EXPECT_EQ(cameras_->revision(), 1);
  SetLatitude("CAM-1", 1);
  const int64_t first = cameras_->revision();
  SetLatitude("CAM-2", 1);
  const int64_t second = cameras_->revision();
  EXPECT_GT(second, first);
  EXPECT_EQ(cameras_->Find("CAM-2")->revision(), second);
  ASSERT_THAT(cameras_->List("", 10, first), SizeIs(1));
  EXPECT_EQ(cameras_->List("", 10, first)[0].camera_id(), "CAM-2");
  PutCsv("CAM-1,26,80\nCAM-3,26,80\n");
  EXPECT_GT(cameras_->revision(), second);
  EXPECT_THAT(cameras_->List("", 10, second), SizeIs(2));
  EXPECT_THAT(cameras_->List("", 10, cameras_->revision()), SizeIs(0));
  EXPECT_THAT(cameras_->List("", 10, 0), SizeIs(3));
}

TEST_F(CameraDirectoryTest, RevisionsGoOnAfterARestartAndAClockThatWentBack) {
  clock_.Advance(absl::Hours(1));
  SetLatitude("CAM-1", 1);
  const int64_t before = cameras_->revision();
  clock_.StepWallClock(-absl::Hours(2));
  Open();
  EXPECT_EQ(cameras_->revision(), before);
  SetLatitude("CAM-1", 2);
  EXPECT_GT(cameras_->revision(), before);
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
