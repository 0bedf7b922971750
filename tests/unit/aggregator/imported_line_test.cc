// SPDX-License-Identifier: Apache-2.0
#include "services/aggregator/imported_line.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <string>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "services/aggregator/prediction_record.h"
#include "tests/support/status_matchers.h"
#include "tests/unit/aggregator/aggregator_testing.h"

namespace camherd::aggregator {
namespace {

using ::camherd::aggregator::testing::ReadText;
using ::camherd::testing::IsOk;
using ::camherd::testing::StatusIs;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::StartsWith;

absl::TimeZone Kolkata() {
  absl::TimeZone zone;
  EXPECT_TRUE(absl::LoadTimeZone("Asia/Kolkata", &zone));
  return zone;
}

std::string Example() {
  return ReadText(
      absl::StrCat(CAMHERD_GOLDEN_DIR, "/orchestrator_record/example.json"));
}

absl::StatusOr<ImportedLine> Read(absl::string_view text) {
  return ParseImportedLine(text, Kolkata());
}

// The line of a record as it was read.
std::string Write(const ImportedLine& read, int64_t record_id,
                  absl::Time recorded_at) {
  StoredRecord stored{.record = read.record.record, .pictures = {}};
  stored.record.set_record_id(record_id);
  *stored.record.mutable_recorded_at() = ToProto(recorded_at);
  std::map<std::string, std::string> jpegs;
  for (const Picture& picture : read.record.pictures) {
    const std::string path = absl::StrCat("records/", picture.frame_index);
    stored.pictures.push_back(
        {.frame_index = picture.frame_index, .path = path, .size_bytes = 0});
    jpegs[path] = picture.jpeg;
  }
  std::string out;
  CAMHERD_EXPECT_OK(AppendPredictionLines(
      stored, {.timezone = Kolkata()},
      [&](const StoredPicture& p) -> absl::StatusOr<std::string> {
        return jpegs[p.path];
      },
      out));
  return out;
}

TEST(ImportedLineTest, ReadsTheDocumentsExample) {
  const auto read = Read(Example());
  ASSERT_THAT(read.status(), IsOk());
  const v1::Record& record = read->record.record;
  EXPECT_TRUE(record.imported());
  EXPECT_THAT(record.session_id(), StartsWith("import-"));
  EXPECT_EQ(record.batch_seq(), 1);
  EXPECT_EQ(record.camera_id(), "CAM001");
  EXPECT_EQ(record.latitude(), 26.4499);
  EXPECT_EQ(record.host_ip(), "192.168.1.101");
  // 16:45:10 in Kolkata.
  EXPECT_EQ(FormatRfc3339(FromProto(record.captured_at())),
            "2025-10-08T11:15:10.000Z");
  ASSERT_THAT(record.sections(), SizeIs(2));
  EXPECT_EQ(record.sections(0).complaint(), 1);
  EXPECT_EQ(record.sections(0).detections(0).class_name(), "dog");
  EXPECT_FALSE(record.sections(1).present());
  ASSERT_THAT(record.evidence(), SizeIs(1));
  EXPECT_EQ(record.evidence(0).complaint_type(), "stray_animal");
  ASSERT_THAT(read->record.pictures, SizeIs(1));
  EXPECT_THAT(read->record.pictures[0].jpeg, StartsWith("\xFF\xD8\xFF"));
  EXPECT_EQ(record.frames(0).sha256(), Sha256(read->record.pictures[0].jpeg));
}

TEST(ImportedLineTest, WhatItWritesIsWhatTheDocumentHas) {
  const std::string line =
      Write(Read(Example()).value(), 1, testing::FirstFrame());
  const size_t meta = line.find(", \"meta\"");
  EXPECT_EQ(
      line.substr(0, meta) + "}",
      R"({"basic": {"camID": "CAM001", "Latitude": 26.4499, "Longitude": )"
      R"(80.3319, "Date": "08/10/2025", "timestamp": "16:45:10", "IP": )"
      R"("192.168.1.101", "complaint_type": {"stray_animal": 1, "pothole": )"
      R"(0}, "frame_base64": "/9j/4AAQSkZJRgABAQAAAQABAAD/2Q=="}, )"
      R"("stray_animal": {"detections": [{"class": "dog", "confidence": )"
      R"(0.89, "box": [120, 240, 180, 300]}]}, "pothole": null})");
}

TEST(ImportedLineTest, WhatItWritesOfARecordWithoutAPictureIsTakenAgain) {
  std::string line = Write(Read(Example()).value(), 1, testing::FirstFrame());
  const std::string with = line;
  for (const absl::string_view key :
       {"\"sha256\": \"", "\"frame_base64\": \""}) {
    const size_t begin = line.find(std::string(key)) + key.size();
    line.erase(begin, line.find('"', begin) - begin);
  }
  line = absl::StrReplaceAll(
      line, {{"\"frame_base64\": \"\"", "\"frame_base64\": null"}});
  ASSERT_LT(line.size(), with.size());
  const auto read = Read(line);
  ASSERT_THAT(read.status(), IsOk());
  EXPECT_THAT(read->record.pictures, IsEmpty());
  EXPECT_EQ(read->record.record.frames(0).sha256(), "");
}

TEST(ImportedLineTest, AComplaintWithoutASectionHasOneModel) {
  const std::string odd = absl::StrReplaceAll(
      Example(), {{"\"pothole\": 0", "\"pothole\": 0, \"odd\": 1"}});
  const std::string line = Write(Read(odd).value(), 1, testing::FirstFrame());
  EXPECT_THAT(line, HasSubstr("\"odd\": 1"));
  const auto again = Read(line);
  ASSERT_THAT(again.status(), IsOk());
  EXPECT_EQ(Write(*again, 1, testing::FirstFrame()), line);
}

// Each of them takes as long as all before it.
TEST(ImportedLineTest, RefusesAnObjectOfManyKeysInTime) {
  std::string keys;
  for (int i = 0; i < 200000; ++i) absl::StrAppend(&keys, ",\"", i, "\":{}");
  EXPECT_THAT(Read(absl::StrCat("{\"a\":[{\"b\":0", keys, "}]}")),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("at most 1000 keys")));
  EXPECT_THAT(Read(absl::StrCat("{\"b\":{\"c\":1}", keys, "}")),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("at most 1000 keys")));
}

TEST(ImportedLineTest, TheNameIsOfTheContentNotOfItsForm) {
  const std::string text = Example();
  const std::string name = Read(text)->record.record.session_id();
  EXPECT_EQ(Read(absl::StrReplaceAll(text, {{"\n", " "}}))
                ->record.record.session_id(),
            name);
  EXPECT_NE(Read(absl::StrReplaceAll(text, {{"16:45:10", "16:45:13"}}))
                ->record.record.session_id(),
            name);
}

// Every golden line comes out again as it went in.
TEST(ImportedLineTest, OurOwnLinesComeOutAsTheyWere) {
  int lines = 0;
  for (const auto& folder : std::filesystem::directory_iterator(
           absl::StrCat(CAMHERD_GOLDEN_DIR, "/predictions"))) {
    const std::string text =
        ReadText(folder.path() / "expected_predictions.json");
    for (const absl::string_view line :
         absl::StrSplit(text, '\n', absl::SkipEmpty())) {
      const auto read = Read(line);
      ASSERT_THAT(read.status(), IsOk()) << folder.path();
      if (read->lines > 1) continue;
      ++lines;
      const size_t id = line.find("\"record_id\": ") + 13;
      const size_t recorded = line.find("\"recorded_at\": \"") + 16;
      absl::Time recorded_at;
      ASSERT_TRUE(absl::ParseTime(absl::RFC3339_full, line.substr(recorded, 24),
                                  &recorded_at, nullptr));
      int64_t record_id = 0;
      ASSERT_TRUE(absl::SimpleAtoi(line.substr(id, line.find(',', id) - id),
                                   &record_id));
      // Zone and paths of evidence are of the store that wrote it.
      const auto comparable = [](std::string text) {
        for (const char* key :
             {"\"picture\": ", "\"Date\": ", "\"timestamp\": "}) {
          for (size_t at = text.find(key); at != std::string::npos;
               at = text.find(key, at)) {
            at += std::string(key).size();
            text.erase(at, text.find_first_of(",}", at) - at);
          }
        }
        return text;
      };
      EXPECT_EQ(comparable(Write(*read, record_id, recorded_at)),
                comparable(absl::StrCat(line, "\n")))
          << folder.path();
    }
  }
  EXPECT_GE(lines, 5);
}

TEST(ImportedLineTest, NamesFieldAndValueOfWhatItRefuses) {
  struct Case {
    const char* from;
    const char* to;
    const char* field;
    const char* value;
  };
  const Case cases[] = {
      {"CAM001", "../x", "basic.camID", "../x"},
      {"\"CAM001\"", "7", "basic.camID", "7"},
      {"26.4499", "126.4", "basic.Latitude", "126.4"},
      {"26.4499", "null", "basic.Latitude", "nothing"},
      {"08/10/2025", "2025-10-08", "basic.Date", "2025-10-08"},
      {"08/10/2025", "31/02/2025", "basic.Date", "31/02/2025"},
      {"16:45:10", "noon", "basic.timestamp", "noon"},
      {"\"stray_animal\": 1", "\"stray_animal\": 2",
       "basic.complaint_type.stray_animal", "2"},
      {"/9j/", "!!", "basic.frame_base64", "!!4AAQ"},
      {"/9j/", "AAAA", "basic.frame_base64", "000000"},
      {"\"confidence\": 0.89", "\"confidence\": 89",
       "stray_animal.detections[0].confidence", "89"},
      {"\"class\": \"dog\"", "\"class\": null",
       "stray_animal.detections[0].class", "nothing"},
      {"[120,240,180,300]", "[1,2,3]", "stray_animal.detections[0].box",
       "array"},
      {"\"pothole\": null", "\"pothole\": 5", "pothole", "5"},
      {"\"pothole\": null", "\"pothole\": {}", "pothole.detections", "nothing"},
      {"\"basic\"", "\"basis\"", "basic", "nothing"},
      {"\"pothole\": null", "\"meta\": {\"session_id\": \"s\"}",
       "meta.stream_id", "\"\""},
  };
  for (const Case& c : cases) {
    const std::string text = absl::StrReplaceAll(Example(), {{c.from, c.to}});
    ASSERT_NE(text, Example()) << c.from;
    EXPECT_THAT(
        Read(text).status(),
        StatusIs(absl::StatusCode::kInvalidArgument,
                 ::testing::AllOf(StartsWith(c.field), HasSubstr(c.value))))
        << c.to;
  }
}

TEST(ImportedLineTest, SaysWhichByteIsNoTextAndWhichNoJson) {
  EXPECT_THAT(Read("{\"a\": \"\xC3(\"}").status(),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("byte 8")));
  EXPECT_THAT(Read("{\"a\": nope}").status(),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("ope}")));
  EXPECT_THAT(Read("{\"a\": 1e999999}").status(),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("JSON")));
}

TEST(ImportedLineTest, ANullPictureOrPlaceIsNone) {
  std::string text = absl::StrReplaceAll(
      Example(), {{"\"/9j/4AAQSkZJRgABAQAAAQABAAD/2Q==\"", "null"},
                  {"26.4499", "null"},
                  {"80.3319", "null"}});
  const auto read = Read(text);
  ASSERT_THAT(read.status(), IsOk());
  EXPECT_THAT(read->record.pictures, IsEmpty());
  EXPECT_FALSE(read->record.record.has_latitude());
}

TEST(ImportedLineTest, APictureThatIsNotTheFramesIsRefused) {
  const std::string line = ReadText(
      absl::StrCat(CAMHERD_GOLDEN_DIR,
                   "/predictions/document_example/expected_predictions.json"));
  EXPECT_THAT(
      Read(absl::StrReplaceAll(line, {{"/9j/anBl", "/9j/bnBl"}})).status(),
      StatusIs(absl::StatusCode::kInvalidArgument,
               HasSubstr("SHA-256 of meta.frames[0], 5910b2")));
}

}  // namespace
}  // namespace camherd::aggregator
