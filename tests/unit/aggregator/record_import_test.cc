// SPDX-License-Identifier: Apache-2.0
#include "services/aggregator/record_import.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "services/aggregator/predictions_file.h"
#include "services/aggregator/record_export.h"
#include "services/aggregator/sqlite_record_store.h"
#include "tests/support/fake_clock.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"
#include "tests/unit/aggregator/aggregator_testing.h"

namespace camherd::aggregator {
namespace {

using ::camherd::aggregator::testing::AddDetection;
using ::camherd::aggregator::testing::AppendAndWait;
using ::camherd::aggregator::testing::FakePicture;
using ::camherd::aggregator::testing::MakeHeader;
using ::camherd::aggregator::testing::MakeMetrics;
using ::camherd::aggregator::testing::MakeNewRecord;
using ::camherd::aggregator::testing::ReadText;
using ::camherd::aggregator::testing::WriteText;
using ::camherd::testing::FakeClock;
using ::camherd::testing::IsOk;
using ::camherd::testing::StatusIs;
using ::camherd::testing::TempDir;
using ::testing::HasSubstr;
using ::testing::SizeIs;

// A line as document A wrote it.
std::string OldLine(int second) {
  return absl::StrCat(
      R"({"basic": {"camID": "CAM001", "Latitude": 26.4, "Longitude": 80.3, )",
      R"("Date": "08/10/2025", "timestamp": "16:45:)", second,
      R"(", "IP": "192.168.1.101", "complaint_type": {"stray_animal": 0, )",
      R"("pothole": 0}, "frame_base64": ")",
      absl::Base64Escape(absl::StrCat("\xFF\xD8\xFF picture ", second)),
      R"("}, "stray_animal": {"detections": []}, "pothole": null})", "\n");
}

class RecordImportTest : public ::testing::Test {
 protected:
  static std::unique_ptr<SqliteRecordStore> Open(const TempDir& dir,
                                                 FakeClock& clock) {
    return SqliteRecordStore::Create({.data_dir = dir.path()}, clock).value();
  }

  absl::StatusOr<v1::ImportRecordsResponse> Import(const std::string& text) {
    return Import(text, *store_);
  }
  absl::StatusOr<v1::ImportRecordsResponse> Import(const std::string& text,
                                                   SqliteRecordStore& store) {
    RecordImport import({.timezone = absl::UTCTimeZone()},
                        [&](NewRecord record, RecordStore::AppendDone done) {
                          store.Append(std::move(record), std::move(done));
                        });
    for (size_t at = 0; at < text.size(); at += 100) {
      const absl::Status status =
          import.Add(absl::string_view(text).substr(at, 100));
      if (!status.ok()) return status;
    }
    return import.Finish();
  }

  std::string Export(SqliteRecordStore& store, bool per_frame = false,
                     v1::ExportFormat format = v1::EXPORT_FORMAT_JSONL) {
    RecordExport::Options options{
        .format = format,
        .line = {.timezone = absl::UTCTimeZone(), .per_frame = per_frame}};
    RecordExport records = RecordExport::Create(options, store).value();
    std::string all;
    while (true) {
      const std::string piece = records.Next().value();
      if (piece.empty()) return all;
      all += piece;
    }
  }

  void Append(int64_t batch_seq, const std::vector<int>& dog_frames = {}) {
    v1::AddBatchResultHeader header = MakeHeader("s", batch_seq, 3);
    for (const int frame : dog_frames) AddDetection(header, "dog", frame, 0.9F);
    ASSERT_THAT(AppendAndWait(*store_, MakeNewRecord(header)), IsOk());
  }

  TempDir dir_;
  TempDir other_dir_;
  FakeClock clock_;
  std::unique_ptr<SqliteRecordStore> store_ = Open(dir_, clock_);
};

TEST_F(RecordImportTest, OldLinesBecomeRecordsWithTheirPictures) {
  const auto result = Import(OldLine(10) + OldLine(13));
  ASSERT_THAT(result.status(), IsOk());
  EXPECT_EQ(result->imported(), 2);
  EXPECT_THAT(result->errors(), SizeIs(0));
  const StoredRecord stored = store_->GetRecord(2).value();
  EXPECT_EQ(stored.record.camera_id(), "CAM001");
  ASSERT_THAT(stored.pictures, SizeIs(1));
  EXPECT_EQ(store_->ReadPicture(stored.pictures[0]).value(),
            "\xFF\xD8\xFF picture 13");
}

TEST_F(RecordImportTest, TheSameAgainInAnyFormChangesNothing) {
  const std::string lines = OldLine(10) + OldLine(13);
  ASSERT_THAT(Import(lines).status(), IsOk());
  const std::string before = Export(*store_);
  const std::vector<std::string> parts =
      absl::StrSplit(lines, '\n', absl::SkipEmpty());
  for (const std::string& text :
       {lines, "\xEF\xBB\xBF" + lines, lines + lines,
        "[" + parts[0] + ", " + parts[1] + "]",
        "[\r\n  " + parts[1] + ",\r\n  " + parts[0] + "\r\n]\r\n", before,
        Export(*store_, false, v1::EXPORT_FORMAT_ARRAY)}) {
    const auto result = Import(text);
    ASSERT_THAT(result.status(), IsOk());
    EXPECT_EQ(result->imported(), 0) << text;
    EXPECT_GE(result->already_present(), 2) << text;
    EXPECT_THAT(result->errors(), SizeIs(0)) << text;
  }
  EXPECT_EQ(Export(*store_), before);
}

TEST_F(RecordImportTest, AnExportPutBackWhereItCameFromChangesNothing) {
  Append(1, {1});
  Append(2);
  const std::string before = Export(*store_);
  const auto result = Import(before);
  ASSERT_THAT(result.status(), IsOk());
  EXPECT_EQ(result->already_present(), 2);
  EXPECT_EQ(result->imported(), 0);
  EXPECT_EQ(Export(*store_), before);
}

TEST_F(RecordImportTest, AnotherStoreExportsWhatItImported) {
  Append(1, {1});
  Append(2, {0, 2});
  Append(3);
  const auto other = Open(other_dir_, clock_);
  const std::string lines = Export(*store_);
  ASSERT_EQ(Import(lines, *other)->imported(), 3);
  // The picture of the evidence of batch 1 is in no line.
  std::string imported = Export(*other);
  const size_t at = imported.find("\"picture\": null");
  ASSERT_NE(at, std::string::npos);
  const StoredRecord first = store_->GetRecord(1).value();
  imported.replace(
      at, 15, absl::StrCat("\"picture\": \"", first.pictures[1].path, "\""));
  EXPECT_EQ(imported, lines);
}

TEST_F(RecordImportTest, ARecordOfALineAFrameIsPutTogetherAgain) {
  Append(1, {0, 2});
  Append(2, {1});
  const std::string lines = Export(*store_, /*per_frame=*/true);
  const auto other = Open(other_dir_, clock_);
  const auto result = Import(lines, *other);
  ASSERT_THAT(result.status(), IsOk());
  EXPECT_EQ(result->imported(), 2);
  EXPECT_THAT(result->errors(), SizeIs(0));
  const StoredRecord stored = other->GetRecord(1).value();
  EXPECT_THAT(stored.record.sections(0).detections(), SizeIs(2));
  ASSERT_THAT(stored.pictures, SizeIs(2));
  EXPECT_EQ(other->ReadPicture(stored.pictures[1]).value(),
            FakePicture("s", 1, 2));
  EXPECT_EQ(Export(*other, /*per_frame=*/true), lines);
  // Without its last line it is taken all the same.
  TempDir third_dir;
  const auto third = Open(third_dir, clock_);
  const auto torn = Import(lines.substr(0, lines.find('\n') + 1), *third);
  ASSERT_THAT(torn.status(), IsOk());
  EXPECT_EQ(torn->imported(), 1);
  ASSERT_THAT(torn->errors(), SizeIs(1));
  EXPECT_THAT(torn->errors(0).message(), HasSubstr("2 lines"));
}

TEST_F(RecordImportTest, WhatCannotBeUsedIsNamedByLineAndTheRestTaken) {
  std::string bad_time = OldLine(10);
  bad_time.replace(bad_time.find("16:45"), 5, "26:45");
  std::string bad_utf8 = OldLine(10);
  bad_utf8[bad_utf8.find("CAM001")] = '\xFF';
  const auto result =
      Import("\xEF\xBB\xBF" + OldLine(11) + bad_time + OldLine(12) + bad_utf8 +
             OldLine(13) + "{\"basic\": {\"camID\": \"CA\n" + OldLine(14) +
             std::string(1000, '\0') + OldLine(15) + "\n" +
             OldLine(16).substr(0, 100));
  ASSERT_THAT(result.status(), IsOk());
  EXPECT_EQ(result->imported(), 5);
  EXPECT_EQ(result->failed(), 5);
  ASSERT_THAT(result->errors(), SizeIs(5));
  const std::pair<int, const char*> faults[] = {
      {2, "basic.timestamp must be HH:MM:SS, got \"26:45:10\""},
      {4, "not UTF-8"},
      {6, "cut off"},
      {8, "NUL"},
      {10, "cut off"}};
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(result->errors(i).line(), faults[i].first);
    EXPECT_THAT(result->errors(i).message(), HasSubstr(faults[i].second));
  }
}

TEST_F(RecordImportTest, ManyFaultsAreCountedAndTheFirstKept) {
  std::string text;
  for (int i = 0; i < 1000; ++i) text += "x\n";
  const auto result = Import(text + OldLine(10));
  ASSERT_THAT(result.status(), IsOk());
  EXPECT_EQ(result->failed(), 1000);
  EXPECT_THAT(result->errors(), SizeIs(RecordImport::kMaxErrors));
  EXPECT_EQ(result->imported(), 1);
}

TEST_F(RecordImportTest, AnErrorOfTheStoreEndsItAndTheNextOneGoesOn) {
  std::string text;
  for (int i = 10; i < 60; ++i) text += OldLine(i);
  int given = 0;
  {
    RecordImport import({.timezone = absl::UTCTimeZone()},
                        [&](NewRecord record, RecordStore::AppendDone done) {
                          if (++given > 20) {
                            return done(absl::ResourceExhaustedError("full"));
                          }
                          store_->Append(std::move(record), std::move(done));
                        });
    absl::Status status = import.Add(text);
    if (status.ok()) status = import.Finish().status();
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kResourceExhausted,
                                 HasSubstr("goes on from there")));
  }
  const auto result = Import(text);
  ASSERT_THAT(result.status(), IsOk());
  EXPECT_EQ(result->imported() + result->already_present(), 50);
  EXPECT_GE(result->already_present(), 20);
  EXPECT_EQ(store_->LastRecordId(), 50);
}

TEST_F(RecordImportTest, ABatchThatWasImportedComesAgainAsRecorded) {
  Append(1, {1});
  const std::string lines = Export(*store_);
  const auto other = Open(other_dir_, clock_);
  ASSERT_EQ(Import(lines, *other)->imported(), 1);
  // As of a capture whose answer was lost.
  v1::AddBatchResultHeader header = MakeHeader("s", 1, 3);
  const auto again = AppendAndWait(*other, MakeNewRecord(header));
  ASSERT_THAT(again.status(), IsOk());
  EXPECT_TRUE(again->already_recorded);
}

TEST_F(RecordImportTest, ImportedRecordsAreNotWrittenToPredictionsJson) {
  const std::string path = dir_ / "predictions.json";
  WriteText(path, OldLine(10) + OldLine(13));
  const auto metrics = MakeMetrics();
  PredictionsFile::Options options;
  options.path = path;
  options.line = {.timezone = absl::UTCTimeZone()};
  auto file =
      PredictionsFile::Create(options, *store_, clock_, *metrics).value();
  ASSERT_EQ(Import(ReadText(path))->imported(), 2);
  Append(1);
  ASSERT_EQ(Import(OldLine(16))->imported(), 1);
  Append(2);
  ASSERT_TRUE(file->WaitUntilCaughtUp(absl::Seconds(30)));
  file->Stop(absl::Seconds(30));
  // A start after it doubles nothing either.
  file = nullptr;
  file = PredictionsFile::Create(options, *store_, clock_, *metrics).value();
  ASSERT_TRUE(file->WaitUntilCaughtUp(absl::Seconds(30)));
  file = nullptr;
  const std::string text = ReadText(path);
  EXPECT_THAT(
      std::vector<std::string>(absl::StrSplit(text, '\n', absl::SkipEmpty())),
      SizeIs(4));
  EXPECT_THAT(text, ::testing::StartsWith(OldLine(10) + OldLine(13)));
  EXPECT_THAT(text, HasSubstr("\"batch_seq\": 2"));
}

}  // namespace
}  // namespace camherd::aggregator
