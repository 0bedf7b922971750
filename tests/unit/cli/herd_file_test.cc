// SPDX-License-Identifier: Apache-2.0
#include "services/cli/herd_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "services/common/file.h"
#include "tests/support/temp_dir.h"

namespace camherd::cli {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;

constexpr char kFile[] = R"(cameras:
  - camera_id: CAM-001
    name: "North: gate"
    latitude: 26.4499
    longitude: 80.3319
    privacy_masks:
      - points: [{x: 0, y: 0}, {x: 0.3, y: 0}, {x: 0.3, y: 1}]
    zones:
      - name: road
        area: {points: [{x: 0, y: 0.5}, {x: 1, y: 0.5}, {x: 1, y: 1}]}
        classes: [cow]
    class_thresholds: {dog: 0.4}
    rtsp_url: rtsp://127.0.0.1:8554/demo
    models: [people]
    interval_seconds: 1.5
    sampling_mode: exact
    tls_verify: false
  - camera_id: "007"
    name: null
)";

TEST(HerdFileTest, ReadsAllThatACameraHas) {
  const HerdFile file = ParseHerdFile("cameras.yaml", kFile);
  ASSERT_THAT(file.errors, IsEmpty());
  ASSERT_EQ(file.entries.size(), 2);
  const HerdEntry& first = file.entries[0];
  EXPECT_EQ(first.where, "cameras.yaml:2");
  EXPECT_EQ(first.camera.name(), "North: gate");
  EXPECT_EQ(first.camera.latitude(), 26.4499);
  EXPECT_EQ(first.camera.privacy_masks(0).points(1).x(), 0.3);
  EXPECT_EQ(first.camera.zones(0).classes(0), "cow");
  EXPECT_EQ(first.camera.class_thresholds().at("dog"), 0.4);
  EXPECT_EQ(first.stream.rtsp_url(), "rtsp://127.0.0.1:8554/demo");
  EXPECT_EQ(first.stream.interval_seconds(), 1.5);
  EXPECT_EQ(first.stream.sampling_mode(), v1::SAMPLING_MODE_EXACT);
  EXPECT_TRUE(first.stream.has_tls_verify());
  EXPECT_EQ(first.given.at("models"), "cameras.yaml:14");
  EXPECT_FALSE(first.has_secret);
  EXPECT_EQ(file.entries[1].camera.camera_id(), "007");
  EXPECT_FALSE(file.entries[1].given.contains("name"));
}

TEST(HerdFileTest, EveryErrorIsNamedWithItsLine) {
  const HerdFile file = ParseHerdFile("c.yaml", R"(cameras:
  - camera_id: "a b"
    latitude: 91
    longitude: east
    colour: red
  - camera_id: CAM-2
    camera_id: CAM-3
    rtsp_url: http://127.0.0.1/
    models: [people, people]
  - camera_id: CAM-3
    rtsp_url: rtsp://127.0.0.1/x
    interval_seconds: 0
    batch_size: 65
    models: [p p]
    privacy_masks:
      - points: [{x: 0, y: 0}, {x: 1, y: 0}, {x: 1, y: 1}]
      - points: [{x: 0, z: 0}]
  - models: [people]
  - 7
)");
  EXPECT_THAT(
      file.errors,
      ElementsAre(
          StartsWith("c.yaml:2: camera_id"),
          "c.yaml:3: latitude must be in [-90, 90], got 91",
          "c.yaml:4: longitude must be a number, got \"east\"",
          StartsWith("c.yaml:5: unknown key colour; known: camera_id, name"),
          "c.yaml:7: camera_id is there twice",
          StartsWith("c.yaml:8: rtsp_url must begin with rtsp://"),
          "c.yaml:9: models must name each once, got people twice",
          "c.yaml:12: interval_seconds must be in [0.1, 86400], got 0",
          "c.yaml:13: batch_size must be in [1, 64], got 65",
          AllOf(StartsWith("c.yaml:14: models"), HasSubstr("\"p p\"")),
          AllOf(StartsWith("c.yaml:15: privacy_masks[1].points must number")),
          AllOf(StartsWith("c.yaml:17: unknown field \"privacy_masks[1]"),
                HasSubstr("z")),
          AllOf(StartsWith("c.yaml:18: camera_id"), HasSubstr("\"\"")),
          "c.yaml:18: models needs rtsp_url",
          "c.yaml:19: a camera must be a map of keys"));
}

TEST(HerdFileTest, RangesAreThoseOfTheServices) {
  const HerdFile file = ParseHerdFile("c.yaml", R"(cameras:
  - camera_id: a b
    latitude: 91
    rtsp_url: rtsps://127.0.0.1/x
    transport: udp
    interval_seconds: 0
    batch_size: 65
    models: [people, people]
    class_thresholds: {dog: 2}
    zones: [{name: "", area: {points: [{x: 2, y: 0}]}}]
)");
  EXPECT_THAT(
      file.errors,
      ElementsAre(
          StartsWith("c.yaml:2: camera_id"),
          "c.yaml:3: latitude must be in [-90, 90], got 91",
          "c.yaml:5: transport must be tcp for an rtsps camera, got udp",
          "c.yaml:6: interval_seconds must be in [0.1, 86400], got 0",
          "c.yaml:7: batch_size must be in [1, 64], got 65",
          "c.yaml:8: models must name each once, got people twice",
          "c.yaml:9: class_thresholds.dog must be in [0, 1], got 2",
          StartsWith("c.yaml:10: zones[0].name must have 1 to 64 bytes"),
          "c.yaml:10: zones[0].area.points must number 3 to 64, got 1",
          "c.yaml:10: zones[0].area.points[0].x must be in [0, 1], got 2"));
}

TEST(HerdFileTest, WhatIsNoSuchFileIsSaid) {
  const auto error = [](const char* text) {
    const HerdFile file = ParseHerdFile("c.yaml", text);
    return file.errors.empty() ? "" : file.errors.front();
  };
  EXPECT_THAT(error("cameras: [\n"), StartsWith("c.yaml:2: not YAML"));
  EXPECT_THAT(error("[]"), HasSubstr("one YAML map"));
  EXPECT_THAT(error(""), HasSubstr("one YAML map"));
  EXPECT_THAT(error("streams: []"),
              StartsWith("c.yaml:1: unknown key streams; known: cameras"));
  EXPECT_THAT(error("cameras: 7"), StartsWith("c.yaml:1: cameras must be"));
  EXPECT_THAT(error("cameras: [\xff]"), HasSubstr("UTF-8"));
  EXPECT_THAT(error("cameras:\n"), "");
}

TEST(HerdFileTest, NoSecretIsInTheFile) {
  const HerdFile file = ParseHerdFile("c.yaml", R"(cameras:
  - camera_id: a
    rtsp_url: rtsp://admin:s3cret@127.0.0.1/x
  - camera_id: b
    rtsp_url: rtsp://127.0.0.1/x?token=s3cret
    password: s3cret
)");
  EXPECT_THAT(file.errors,
              ElementsAre(StartsWith("c.yaml:3: rtsp_url must hold no user"),
                          StartsWith("c.yaml:5: rtsp_url must hold no user"),
                          StartsWith("c.yaml:6: password must not be")));
  for (const std::string& error : file.errors) {
    EXPECT_THAT(error, Not(HasSubstr("s3cret")));
  }
}

TEST(HerdFileTest, SecretsComeFromFilesBesideItAndTheEnvironment) {
  const testing::TempDir dir;
  ASSERT_TRUE(
      WriteFileAtomically(dir.path() + "/gate", "w0rd\n", Sync::kNone, 0600)
          .ok());
  setenv("CLI_TEST_URL", "rtsp://a:b@127.0.0.1/x", 1);
  const HerdFile file = ParseHerdFile(dir.path() + "/c.yaml", R"(cameras:
  - camera_id: a
    rtsp_url: rtsp://127.0.0.1/x
    user: admin
    password_file: gate
  - camera_id: b
    rtsp_url_env: CLI_TEST_URL
  - camera_id: c
    rtsp_url_env: CLI_TEST_NO_URL
)");
  EXPECT_THAT(
      file.errors,
      ElementsAre(HasSubstr("c.yaml:9: the rtsp_url: $CLI_TEST_NO_URL")));
  ASSERT_EQ(file.entries.size(), 3);
  EXPECT_EQ(file.entries[0].stream.password(), "w0rd");
  EXPECT_TRUE(file.entries[0].has_secret);
  EXPECT_EQ(file.entries[1].stream.rtsp_url(), "rtsp://a:b@127.0.0.1/x");
  EXPECT_TRUE(file.entries[1].given.contains("rtsp_url"));
}

TEST(HerdFileTest, ACsvHasALineACamera) {
  const HerdFile file = ParseHerdFile("cameras.csv",
                                      "\xEF\xBB\xBF"
                                      "cameraID,name,latitude,longitude,"
                                      "rtsp_url,models\r\n"
                                      "CAM-1,\"Gate, \"\"north\"\"\",1,2,"
                                      "rtsp://127.0.0.1/x,people animals\r\n"
                                      "\r\n"
                                      "CAM-2,,,,,\r\n");
  ASSERT_THAT(file.errors, IsEmpty());
  ASSERT_EQ(file.entries.size(), 2);
  EXPECT_EQ(file.entries[0].camera.name(), "Gate, \"north\"");
  EXPECT_THAT(file.entries[0].stream.models(),
              ElementsAre("people", "animals"));
  EXPECT_EQ(file.entries[1].where, "cameras.csv:4");
  EXPECT_FALSE(file.entries[1].given.contains("name"));
}

TEST(HerdFileTest, ErrorsOfACsvAreNamedWithTheirLine) {
  EXPECT_THAT(ParseHerdFile("c.csv", "camera_id,zones,nmae\n").errors,
              ElementsAre("c.csv:1: column zones needs YAML",
                          StartsWith("c.csv:1: unknown column nmae")));
  EXPECT_THAT(ParseHerdFile("c.csv", "name\n").errors,
              ElementsAre("c.csv:1: the column camera_id is missing"));
  EXPECT_THAT(
      ParseHerdFile("c.csv", "camera_id,latitude\na,91\na,1\na,2,3\n\"b,1\n")
          .errors,
      ElementsAre("c.csv:2: latitude must be in [-90, 90], got 91",
                  "c.csv:3: camera_id a is at c.csv:2 already",
                  "c.csv:4: has 3 values, for 2 columns",
                  "c.csv:5: a quoted value is not closed"));
}

TEST(HerdFileTest, WhatIsWrittenIsReadAsTheSame) {
  const HerdFile file = ParseHerdFile("cameras.yaml", kFile);
  v1::Stream stream;
  stream.set_camera_id("CAM-001");
  stream.set_desired_running(true);
  stream.set_rtsp_url("rtsp://***:***@127.0.0.1:8554/demo");
  stream.add_models("people");
  stream.set_interval_seconds(1.5);
  stream.set_sampling_mode(v1::SAMPLING_MODE_EXACT);
  stream.set_transport(v1::TRANSPORT_TCP);
  stream.set_batch_size(10);
  v1::Stream stopped = stream;
  stopped.set_camera_id("CAM-009");
  stopped.set_desired_running(false);
  const std::string text = WriteHerdFile(
      {file.entries[0].camera, file.entries[1].camera}, {stream, stopped});
  EXPECT_THAT(text, AllOf(HasSubstr("# Has a login"), Not(HasSubstr("***")),
                          Not(HasSubstr("CAM-009"))));

  const HerdFile again = ParseHerdFile("again.yaml", text);
  ASSERT_THAT(again.errors, IsEmpty()) << text;
  ASSERT_EQ(again.entries.size(), 2);
  EXPECT_EQ(again.entries[0].camera.camera_id(), "007");
  EXPECT_EQ(again.entries[1].camera.DebugString(),
            file.entries[0].camera.DebugString());
  EXPECT_EQ(again.entries[1].stream.rtsp_url(), "rtsp://127.0.0.1:8554/demo");
  EXPECT_EQ(again.entries[1].stream.batch_size(), 10);
  EXPECT_EQ(WriteHerdFile({}, {}).substr(WriteHerdFile({}, {}).rfind('#')),
            "# never written here.\ncameras: []\n");
}

}  // namespace
}  // namespace camherd::cli
