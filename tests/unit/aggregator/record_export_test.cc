// SPDX-License-Identifier: Apache-2.0
#include "services/aggregator/record_export.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_split.h"
#include "services/aggregator/sqlite_record_store.h"
#include "tests/support/fake_clock.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"
#include "tests/unit/aggregator/aggregator_testing.h"

namespace camherd::aggregator {
namespace {

using ::camherd::aggregator::testing::AddDetection;
using ::camherd::aggregator::testing::AppendAndWait;
using ::camherd::aggregator::testing::FirstFrame;
using ::camherd::aggregator::testing::MakeHeader;
using ::camherd::aggregator::testing::MakeNewRecord;
using ::camherd::testing::FakeClock;
using ::camherd::testing::IsOk;
using ::camherd::testing::StatusIs;
using ::camherd::testing::TempDir;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

class RecordExportTest : public ::testing::Test {
 protected:
  void Add(const v1::AddBatchResultHeader& header) {
    ASSERT_THAT(AppendAndWait(*store_, MakeNewRecord(header)), IsOk());
  }

  RecordExport Start(v1::ExportFormat format, const RecordFilter& filter = {}) {
    return RecordExport::Create({.format = format,
                                 .filter = filter,
                                 .line = {.timezone = absl::UTCTimeZone()}},
                                *store_)
        .value();
  }

  static std::string Rest(RecordExport& records) {
    std::string file;
    while (true) {
      const auto piece = records.Next();
      EXPECT_THAT(piece, IsOk());
      if (!piece.ok() || piece->empty()) return file;
      EXPECT_LE(piece->size(), RecordExport::kMaxPieceBytes);
      file += *piece;
    }
  }

  std::string Whole(v1::ExportFormat format, const RecordFilter& filter = {}) {
    RecordExport records = Start(format, filter);
    return Rest(records);
  }

  TempDir dir_;
  FakeClock clock_;
  std::unique_ptr<SqliteRecordStore> store_ =
      SqliteRecordStore::Create({.data_dir = dir_.path()}, clock_).value();
};

TEST_F(RecordExportTest, LinesAreThoseOfPredictionsJson) {
  Add(MakeHeader("s", 1));
  Add(MakeHeader("s", 2));
  std::string lines;
  const auto stored_records = store_->RecordsAfter({}, 0, 10).value();
  for (const StoredRecord& stored : stored_records) {
    ASSERT_THAT(
        AppendPredictionLines(
            stored, {.timezone = absl::UTCTimeZone()},
            [&](const StoredPicture& p) { return store_->ReadPicture(p); },
            lines),
        IsOk());
  }
  EXPECT_EQ(Whole(v1::EXPORT_FORMAT_JSONL), lines);
}

TEST_F(RecordExportTest, AnArrayIsOneWhateverItsLength) {
  EXPECT_EQ(nlohmann::json::parse(Whole(v1::EXPORT_FORMAT_ARRAY)),
            nlohmann::json::array());
  // More than are read at once, and more than a piece.
  for (int batch = 1; batch <= 40; ++batch) {
    auto header = MakeHeader("s", batch);
    for (int n = 0; n < 50; ++n) AddDetection(header, "dog", 0, 0.5F);
    Add(header);
    if (batch > 2 && batch < 40) continue;
    const auto array = nlohmann::json::parse(Whole(v1::EXPORT_FORMAT_ARRAY));
    ASSERT_THAT(array, SizeIs(batch));
    EXPECT_EQ(array.back()["meta"]["batch_seq"], batch);
  }
}

TEST_F(RecordExportTest, CsvHasALineARecordThatNoSpreadsheetRuns) {
  auto header = MakeHeader("s", 1);
  AddDetection(header, "dog", 1, 0.75F);
  AddDetection(header, "dog", 0, 0.5F);
  AddDetection(header, "=cmd|' /C calc'!A0", 0, 0.5F);
  NewRecord record = MakeNewRecord(header);
  record.record.set_latitude(-33.5);
  record.record.set_longitude(80.25);
  ASSERT_THAT(AppendAndWait(*store_, record), IsOk());
  Add(MakeHeader("s", 2));
  const std::string csv = Whole(v1::EXPORT_FORMAT_CSV);
  const std::vector<std::string> lines = absl::StrSplit(csv, "\r\n");
  ASSERT_THAT(lines, SizeIs(4));
  EXPECT_EQ(lines[0],
            "record_id,captured_at,recorded_at,camera_id,latitude,longitude,"
            "process_name,session_id,batch_seq,frames,complaints,detections,"
            "classes,picture");
  EXPECT_THAT(lines[1], HasSubstr("1,2026-08-01T10:15:00.000Z,"));
  EXPECT_THAT(lines[1],
              HasSubstr(",CAM-001,-33.5,80.25,demo,s,1,2,stray_animal,3,"
                        "'=cmd|' /C calc'!A0=1;dog=2,records/2026-08-01/10/"));
  EXPECT_THAT(lines[2], HasSubstr(",CAM-001,,,demo,s,2,2,,0,,records/"));
  EXPECT_EQ(lines[3], "");
}

TEST_F(RecordExportTest, CsvQuotesWhatHoldsASeparator) {
  auto header = MakeHeader("s", 1);
  AddDetection(header, "dog, \"big\"", 0, 0.5F);
  Add(header);
  EXPECT_THAT(Whole(v1::EXPORT_FORMAT_CSV),
              HasSubstr(",\"dog, \"\"big\"\"=1\","));
}

TEST_F(RecordExportTest, GeojsonHasAPointARecord) {
  auto header = MakeHeader("s", 1);
  AddDetection(header, "dog", 1, 0.75F);
  NewRecord record = MakeNewRecord(header);
  record.record.set_latitude(26.4499);
  record.record.set_longitude(80.3319);
  ASSERT_THAT(AppendAndWait(*store_, record), IsOk());
  Add(MakeHeader("s", 2));
  const auto json = nlohmann::json::parse(Whole(v1::EXPORT_FORMAT_GEOJSON));
  EXPECT_EQ(json["type"], "FeatureCollection");
  ASSERT_THAT(json["features"], SizeIs(2));
  const auto& first = json["features"][0];
  EXPECT_EQ(first["geometry"]["coordinates"].dump(), "[80.3319,26.4499]");
  EXPECT_EQ(first["properties"]["complaints"].dump(), "[\"stray_animal\"]");
  EXPECT_EQ(first["properties"]["classes"]["dog"], 1);
  EXPECT_EQ(first["properties"]["captured_at"], "2026-08-01T10:15:00.000Z");
  EXPECT_TRUE(json["features"][1]["geometry"].is_null());
}

TEST_F(RecordExportTest, TheFilterHolds) {
  for (int batch = 1; batch <= 40; ++batch) {
    auto header = MakeHeader("s", batch);
    if (batch % 20 == 0) header.mutable_manifest()->set_camera_id("CAM-002");
    Add(header);
  }
  const auto batches = [&](const RecordFilter& filter) {
    RecordExport records = Start(v1::EXPORT_FORMAT_JSONL, filter);
    std::vector<int> seqs;
    for (const absl::string_view line :
         absl::StrSplit(Rest(records), '\n', absl::SkipEmpty())) {
      seqs.push_back(nlohmann::json::parse(line)["meta"]["batch_seq"]);
    }
    EXPECT_EQ(records.records(), static_cast<int64_t>(seqs.size()));
    return seqs;
  };
  EXPECT_THAT(batches({.camera_id = "CAM-002"}), ElementsAre(20, 40));
  EXPECT_THAT(batches({.since = FirstFrame() + absl::Seconds(60),
                       .until = FirstFrame() + absl::Seconds(120)}),
              ElementsAre(3, 4));
}

TEST_F(RecordExportTest, WhatComesWhileItRunsIsNotInIt) {
  Add(MakeHeader("s", 1));
  RecordExport records = Start(v1::EXPORT_FORMAT_CSV);
  Add(MakeHeader("s", 2));
  Rest(records);
  EXPECT_EQ(records.records(), 1);
}

TEST_F(RecordExportTest, APictureThatIsGoneIsCounted) {
  Add(MakeHeader("s", 1));
  std::filesystem::remove_all(dir_ / "records/2026-08-01");
  RecordExport records = Start(v1::EXPORT_FORMAT_JSONL);
  EXPECT_TRUE(
      nlohmann::json::parse(Rest(records))["basic"]["frame_base64"].is_null());
  EXPECT_EQ(records.pictures_missing(), 1);
}

TEST_F(RecordExportTest, AFormatThatIsNoneIsRefused) {
  EXPECT_THAT(
      RecordExport::Create(
          {.format = v1::EXPORT_FORMAT_UNSPECIFIED, .line = {}}, *store_),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("format")));
  EXPECT_THAT(ParseExportFormat("xml"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("xml")));
}

}  // namespace
}  // namespace camherd::aggregator
