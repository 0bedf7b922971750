// SPDX-License-Identifier: Apache-2.0
#include "services/aggregator/prediction_record.h"

#include <gmock/gmock.h>
#include <google/protobuf/util/json_util.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "tests/support/status_matchers.h"
#include "tests/unit/aggregator/aggregator_testing.h"

namespace camherd::aggregator {
namespace {

using ::camherd::aggregator::testing::AddDetection;
using ::camherd::aggregator::testing::MakeHeader;
using ::camherd::aggregator::testing::ReadText;
using ::camherd::aggregator::testing::WriteText;
using ::camherd::testing::IsOk;
using ::camherd::testing::StatusIs;
using ::testing::HasSubstr;
using ::testing::SizeIs;

std::string FakeJpeg(int frame) {
  return absl::StrCat("\xFF\xD8\xFF", "jpeg-", frame);
}

std::vector<std::string> GoldenCases() {
  std::vector<std::string> cases;
  for (const auto& entry :
       std::filesystem::directory_iterator(CAMHERD_GOLDEN_DIR "/predictions")) {
    if (entry.is_directory()) cases.push_back(entry.path().filename().string());
  }
  std::sort(cases.begin(), cases.end());
  return cases;
}

// A folder of tests/golden/predictions: input.json holds
//
//   {"timezone": "Asia/Kolkata", "per_frame": false, "record_id": 7,
//    "recorded_at": "...", "camera": {...} or null,
//    "header": an AddBatchResultHeader as protobuf JSON}
//
// The picture of frame i is a JPEG's first three bytes and the text `jpeg-<i>`;
// its SHA-256 is filled in.
// With CAMHERD_UPDATE_GOLDEN=1 the expected file is written, for review.
class GoldenTest : public ::testing::TestWithParam<std::string> {};

TEST_P(GoldenTest, TheLinesAreAsExpected) {
  const std::string folder =
      CAMHERD_GOLDEN_DIR "/predictions/" + GetParam() + "/";
  const nlohmann::json input =
      nlohmann::json::parse(ReadText(folder + "input.json"));
  v1::AddBatchResultHeader header;
  ASSERT_TRUE(google::protobuf::util::JsonStringToMessage(
                  input["header"].dump(), &header)
                  .ok());
  StoredRecord stored;
  for (int i = 0; i < header.manifest().frames_size(); ++i) {
    const std::string jpeg = FakeJpeg(i);
    header.mutable_manifest()->mutable_frames(i)->set_sha256(Sha256(jpeg));
    stored.pictures.push_back(
        {.frame_index = i, .path = absl::StrCat("records/", i, ".jpg")});
  }
  header.set_manifest_sha256(std::string(32, 'm'));
  ASSERT_THAT(CheckBatchHeader(header), IsOk());
  std::optional<v1::Camera> camera;
  if (!input["camera"].is_null()) {
    camera.emplace();
    ASSERT_TRUE(google::protobuf::util::JsonStringToMessage(
                    input["camera"].dump(), &*camera)
                    .ok());
  }
  stored.record = BuildRecord(header, camera);
  stored.record.set_record_id(input["record_id"].get<int64_t>());
  absl::Time recorded_at;
  ASSERT_TRUE(absl::ParseTime(absl::RFC3339_full,
                              input["recorded_at"].get<std::string>(),
                              &recorded_at, nullptr));
  *stored.record.mutable_recorded_at() = ToProto(recorded_at);
  LineOptions options;
  options.per_frame = input["per_frame"].get<bool>();
  ASSERT_TRUE(absl::LoadTimeZone(input["timezone"].get<std::string>(),
                                 &options.timezone));

  std::string lines;
  EXPECT_THAT(
      AppendPredictionLines(
          stored, options,
          [](const StoredPicture& picture) {
            return absl::StatusOr<std::string>(FakeJpeg(picture.frame_index));
          },
          lines),
      IsOk());
  const std::string expected = folder + "expected_predictions.json";
  if (std::getenv("CAMHERD_UPDATE_GOLDEN") != nullptr) {
    WriteText(expected, lines);
  }
  EXPECT_EQ(lines, ReadText(expected));
}

INSTANTIATE_TEST_SUITE_P(Predictions, GoldenTest,
                         ::testing::ValuesIn(GoldenCases()),
                         [](const auto& info) { return info.param; });

TEST(PredictionRecordTest, ThereAreGoldenCases) {
  EXPECT_GE(GoldenCases().size(), 5U);
}

TEST(PredictionRecordTest, APictureThatIsGoneIsNullAndSaid) {
  StoredRecord stored;
  stored.record = BuildRecord(MakeHeader("s", 1), std::nullopt);
  std::string lines;
  EXPECT_THAT(AppendPredictionLines(
                  stored, {.timezone = absl::UTCTimeZone()},
                  [](const StoredPicture&) {
                    return absl::StatusOr<std::string>(absl::DataLossError(""));
                  },
                  lines),
              StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(lines, HasSubstr("\"frame_base64\": null"));
}

TEST(PredictionRecordTest, EvidenceIsTheHighestScoreTheEarlierOfEqualOnes) {
  v1::AddBatchResultHeader header = MakeHeader("s", 1, 4);
  AddDetection(header, "dog", 3, 0.9F);
  AddDetection(header, "dog", 1, 0.9F);
  AddDetection(header, "cat", 2, 0.99F);  // No complaint class.
  const v1::Record record = BuildRecord(header, std::nullopt);
  ASSERT_THAT(record.evidence(), SizeIs(1));
  EXPECT_EQ(record.evidence(0).frame_index(), 1);
}

TEST(PredictionRecordTest, AModelThatFailedIsNullAlsoWhereNobodyKnowsIt) {
  v1::AddBatchResultHeader header = MakeHeader("s", 1);
  v1::ModelResult& gone = *header.add_results();
  gone.set_model("gone");
  gone.set_outcome(v1::OUTCOME_CODE_FAILED);
  gone.set_reason("gone/model.yaml:1: unknown key");
  v1::ModelResult& cars = *header.add_results();
  cars.set_model("cars");
  cars.set_section("traffic");
  cars.set_complaint_type("traffic");
  cars.set_outcome(v1::OUTCOME_CODE_FAILED);
  EXPECT_THAT(CheckBatchHeader(header), IsOk());

  StoredRecord stored;
  stored.record = BuildRecord(header, std::nullopt);
  std::string line;
  AppendPredictionLines(
      stored, {.timezone = absl::UTCTimeZone()},
      [](const StoredPicture&) { return absl::StatusOr<std::string>("x"); },
      line)
      .IgnoreError();
  EXPECT_THAT(line, HasSubstr("\"stray_animal\": {\"detections\": []}"));
  EXPECT_THAT(line, HasSubstr("\"traffic\": null"));
  EXPECT_THAT(line, HasSubstr("\"traffic\": 0"));
  EXPECT_THAT(line, HasSubstr("\"gone\": {\"outcome\": \"failed\""));
}

struct BadHeader {
  std::string name;
  void (*spoil)(v1::AddBatchResultHeader&);
  std::string message;
};

class BadHeaderTest : public ::testing::TestWithParam<BadHeader> {};

TEST_P(BadHeaderTest, IsRefusedByNameAndValue) {
  v1::AddBatchResultHeader header = MakeHeader("s", 1);
  AddDetection(header, "dog", 0, 0.5F);
  ASSERT_THAT(CheckBatchHeader(header), IsOk());
  GetParam().spoil(header);
  EXPECT_THAT(CheckBatchHeader(header),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr(GetParam().message)));
}

INSTANTIATE_TEST_SUITE_P(
    Fields, BadHeaderTest,
    ::testing::Values(
        BadHeader{"Session",
                  [](auto& h) { h.mutable_manifest()->set_session_id("../x"); },
                  "session_id"},
        BadHeader{"Camera",
                  [](auto& h) { h.mutable_manifest()->clear_camera_id(); },
                  "camera_id"},
        BadHeader{"BatchSeq",
                  [](auto& h) { h.mutable_manifest()->set_batch_seq(0); },
                  "batch_seq must be at least 1, got 0"},
        BadHeader{"Frames",
                  [](auto& h) { h.mutable_manifest()->clear_frames(); },
                  "frames must number 1..64, got 0"},
        BadHeader{"FrameHash",
                  [](auto& h) {
                    h.mutable_manifest()->mutable_frames(1)->set_sha256("x");
                  },
                  "frames[1].sha256 must have 32 bytes, got 1"},
        BadHeader{"FrameTime",
                  [](auto& h) {
                    h.mutable_manifest()
                        ->mutable_frames(0)
                        ->mutable_captured_at()
                        ->set_seconds(INT64_MAX);
                  },
                  "captured_at must be in the years"},
        BadHeader{"Digest", [](auto& h) { h.set_manifest_sha256("short"); },
                  "manifest_sha256 must have 32 bytes, got 5"},
        BadHeader{"NoResult", [](auto& h) { h.clear_results(); }, "results"},
        BadHeader{"TwoResults",
                  [](auto& h) { *h.add_results() = h.results(0); },
                  "animals twice"},
        BadHeader{"ReservedSection",
                  [](auto& h) { h.mutable_results(0)->set_section("basic"); },
                  "section must not be basic"},
        BadHeader{"Outcome",
                  [](auto& h) { h.mutable_results(0)->clear_outcome(); },
                  "outcome"},
        BadHeader{
            "FrameIndex",
            [](auto& h) {
              h.mutable_results(0)->mutable_detections(0)->set_frame_index(2);
            },
            "frame_index must be in [0, 2), got 2"},
        BadHeader{"Confidence",
                  [](auto& h) {
                    h.mutable_results(0)->mutable_detections(0)->set_confidence(
                        1.5F);
                  },
                  "confidence must be in [0, 1], got 1.5"}),
    [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace camherd::aggregator
