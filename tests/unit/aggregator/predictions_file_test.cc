// SPDX-License-Identifier: Apache-2.0
#include "services/aggregator/predictions_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "services/aggregator/data_layout.h"
#include "services/aggregator/predictions_file_recovery.h"
#include "services/aggregator/rotated_predictions.h"
#include "services/aggregator/sqlite_record_store.h"
#include "tests/support/fake_clock.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"
#include "tests/unit/aggregator/aggregator_testing.h"

namespace camherd::aggregator {
namespace {

using ::camherd::aggregator::testing::AddDetection;
using ::camherd::aggregator::testing::AppendAndWait;
using ::camherd::aggregator::testing::MakeHeader;
using ::camherd::aggregator::testing::MakeMetrics;
using ::camherd::aggregator::testing::MakeNewRecord;
using ::camherd::aggregator::testing::ReadText;
using ::camherd::aggregator::testing::WriteText;
using ::camherd::testing::FakeClock;
using ::camherd::testing::IsOk;
using ::camherd::testing::StatusIs;
using ::camherd::testing::TempDir;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::StartsWith;

constexpr absl::Duration kWait = absl::Seconds(30);

class PredictionsFileTest : public ::testing::Test {
 protected:
  PredictionsFileTest() {
    store_ =
        SqliteRecordStore::Create({.data_dir = dir_.path()}, clock_).value();
    options_.path = path_;
    options_.line = {.timezone = absl::UTCTimeZone()};
  }

  absl::Status Open() {
    Close();
    auto file = PredictionsFile::Create(options_, *store_, clock_, *metrics_);
    if (file.ok()) file_ = *std::move(file);
    return file.status();
  }
  void Close() {
    if (file_ != nullptr) file_->Stop(kWait);
    file_ = nullptr;
  }
  void OpenAndCatchUp() {
    ASSERT_THAT(Open(), IsOk());
    ASSERT_TRUE(file_->WaitUntilCaughtUp(kWait));
  }

  void Append(int64_t batch_seq, std::vector<int> dog_frames = {}) {
    v1::AddBatchResultHeader header = MakeHeader("s", batch_seq, 3);
    for (const int frame : dog_frames) AddDetection(header, "dog", frame, 0.9F);
    ASSERT_THAT(AppendAndWait(*store_, MakeNewRecord(header)), IsOk());
    if (file_ != nullptr) {
      ASSERT_TRUE(file_->WaitUntilCaughtUp(kWait));
    }
  }

  // The record id of each line of the file; 0 for a foreign one, -1 for what
  // is no JSON object.
  std::vector<int64_t> Lines() { return LinesOf(path_); }
  std::vector<int64_t> LinesOf(const std::string& path) {
    std::vector<int64_t> ids;
    for (const std::string& line :
         std::vector<std::string>(absl::StrSplit(ReadText(path), '\n'))) {
      if (line.empty()) continue;
      const PredictionLine info = InspectLine(line);
      ids.push_back(info.is_object ? info.record_id : -1);
    }
    return ids;
  }

  // Names of files beside predictions.json that begin as given.
  std::vector<std::string> Beside(const std::string& prefix) {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(dir_.path())) {
      const std::string name = entry.path().filename().string();
      if (absl::StartsWith(name, prefix)) names.push_back(dir_ / name);
    }
    return names;
  }

  TempDir dir_;
  FakeClock clock_;
  std::unique_ptr<AggregatorMetrics> metrics_ = MakeMetrics();
  std::unique_ptr<SqliteRecordStore> store_;
  const std::string path_ = dir_ / "predictions.json";
  PredictionsFile::Options options_;
  std::unique_ptr<PredictionsFile> file_;
};

TEST_F(PredictionsFileTest, HoldsOneLineARecordInOrderOfCommit) {
  OpenAndCatchUp();
  for (int i = 1; i <= 3; ++i) Append(i);
  EXPECT_THAT(Lines(), ElementsAre(1, 2, 3));
  EXPECT_THAT(ReadText(path_), StartsWith("{\"basic\": {\"camID\": "));
}

TEST_F(PredictionsFileTest, CatchesUpWithRecordsOfTheTimeItWasSwitchedOff) {
  Append(1);
  Append(2);
  OpenAndCatchUp();
  EXPECT_THAT(Lines(), ElementsAre(1, 2));
}

TEST_F(PredictionsFileTest, GoesOnAfterAStop) {
  OpenAndCatchUp();
  Append(1);
  OpenAndCatchUp();
  Append(2);
  EXPECT_THAT(Lines(), ElementsAre(1, 2));
  EXPECT_THAT(Beside("predictions.json."), IsEmpty());
}

TEST_F(PredictionsFileTest, CountsLinesTheCursorDoesNotKnow) {
  OpenAndCatchUp();
  const PredictionsCursor before = store_->GetCursor().value();
  Append(1);
  Append(2);
  Close();
  // As after a crash before the cursor was stored.
  ASSERT_THAT(store_->PutCursor(before), IsOk());
  OpenAndCatchUp();
  EXPECT_THAT(Lines(), ElementsAre(1, 2));
}

TEST_F(PredictionsFileTest, MovesATornTailAsideAndWritesTheRecordAgain) {
  OpenAndCatchUp();
  const PredictionsCursor before = store_->GetCursor().value();
  Append(1);
  Append(2);
  Close();
  const std::string whole = ReadText(path_);
  const size_t second = whole.find('\n') + 1;
  for (const std::string& tail :
       {whole.substr(second, 40),
        whole.substr(second, whole.size() - second - 1), std::string(300, '\0'),
        std::string("\0\0\n{}\n", 6)}) {
    ASSERT_THAT(store_->PutCursor(before), IsOk());
    WriteText(path_, whole.substr(0, second) + tail);
    clock_.Advance(absl::Seconds(1));
    OpenAndCatchUp();
    Close();
    EXPECT_EQ(ReadText(path_), whole);
  }
  const std::vector<std::string> torn = Beside("predictions.json.torn-");
  ASSERT_THAT(torn, SizeIs(4));
}

TEST_F(PredictionsFileTest, KeepsTheTornBytesInTheSideFile) {
  OpenAndCatchUp();
  Append(1);
  Close();
  const std::string whole = ReadText(path_);
  WriteText(path_, whole + "{\"half");
  OpenAndCatchUp();
  EXPECT_EQ(ReadText(path_), whole);
  const std::vector<std::string> torn = Beside("predictions.json.torn-");
  ASSERT_THAT(torn, SizeIs(1));
  EXPECT_EQ(ReadText(torn[0]), "{\"half");
}

TEST_F(PredictionsFileTest, BeginsAnewAtTheCursorWhenTheFileWasDeleted) {
  OpenAndCatchUp();
  Append(1);
  Close();
  std::filesystem::remove(path_);
  OpenAndCatchUp();
  Append(2);
  EXPECT_THAT(Lines(), ElementsAre(2));
}

TEST_F(PredictionsFileTest, NoticesWhileItRunsThatTheFileWasDeleted) {
  OpenAndCatchUp();
  Append(1);
  std::filesystem::remove(path_);
  Append(2);
  EXPECT_THAT(Lines(), ElementsAre(2));
  std::filesystem::rename(path_, path_ + ".old");
  Append(3);
  EXPECT_THAT(Lines(), ElementsAre(3));
}

TEST_F(PredictionsFileTest, GoesOnAfterTheEndOfAnEditedFile) {
  OpenAndCatchUp();
  Append(1);
  Append(2);
  Close();
  const std::string whole = ReadText(path_);
  WriteText(path_, whole.substr(whole.find('\n') + 1));
  OpenAndCatchUp();
  Append(3);
  EXPECT_THAT(Lines(), ElementsAre(2, 3));
  WriteText(path_, "");
  Append(4);
  EXPECT_THAT(Lines(), ElementsAre(4));
}

TEST_F(PredictionsFileTest, AppendsToForeignLines) {
  WriteText(path_, "{\"basic\": {}}\n{\"basic\": {}}");
  OpenAndCatchUp();
  Append(1);
  OpenAndCatchUp();
  Append(2);
  EXPECT_THAT(Lines(), ElementsAre(0, 0, 1, 2));
}

TEST_F(PredictionsFileTest, LinesOfAnotherStoreAreForeign) {
  WriteText(path_, "{\"meta\": {\"record_id\": 77}}\n");
  OpenAndCatchUp();
  Append(1);
  OpenAndCatchUp();
  EXPECT_THAT(Lines(), ElementsAre(77, 1));
}

TEST_F(PredictionsFileTest, MovesAnArrayAside) {
  const std::string array = "[\n  {\"basic\": {}}\n]\n";
  WriteText(path_, array);
  OpenAndCatchUp();
  Append(1);
  EXPECT_THAT(Lines(), ElementsAre(1));
  const std::vector<std::string> foreign = Beside("predictions.json.foreign-");
  ASSERT_THAT(foreign, SizeIs(1));
  EXPECT_EQ(ReadText(foreign[0]), array);
}

TEST_F(PredictionsFileTest, NamesWhatIsNoFile) {
  std::filesystem::create_directory(path_);
  EXPECT_THAT(Open(), StatusIs(absl::StatusCode::kFailedPrecondition,
                               HasSubstr("predictions.json is a folder")));
}

// What was there before the first start: a good line stays where it is, and no
// byte is lost.
TEST_F(PredictionsFileTest, WhateverIsFoundAtTheStartIsKeptOrMovedAside) {
  const std::string line = "{\"basic\": {}}\n";
  const std::string half = "{\"basic\": {\"camID\": \"C";
  const std::string nuls(5000, '\0');
  const std::string mark = "\xEF\xBB\xBF";
  const std::string bad = "{\"basic\": \"\xFF\"}\n";
  struct Case {
    std::string text;
    std::string kept;
    std::string torn;
    std::string foreign;
  };
  const Case cases[] = {
      {mark + line + line, mark + line + line, "", ""},
      {mark + "{\"basic\": {}}", mark + line, "", ""},
      {line + nuls, line, nuls, ""},
      {line + line + half, line + line, half, ""},
      {mark + line + half, mark + line, half, ""},
      {line + bad, line + bad, "", ""},
      {line + bad + line, line + bad + line, "", ""},
      {line + bad.substr(0, 14), line, bad.substr(0, 14), ""},
      {line + nuls + line, line + nuls + line, "", ""},
      {half, "", half, ""},
      {nuls, "", "", nuls},
      {bad, bad, "", ""},
      {mark + bad + line, mark + bad + line, "", ""},
      {"[" + line + "]\n", "", "", "[" + line + "]\n"},
      {mark + "[\n" + line + "]", "", "", mark + "[\n" + line + "]"},
      {"{\n  \"basic\": {}\n}\n", "", "", "{\n  \"basic\": {}\n}\n"},
  };
  for (const Case& c : cases) {
    TempDir dir;
    const auto store =
        SqliteRecordStore::Create({.data_dir = dir.path()}, clock_).value();
    const std::string path = PredictionsPath(dir.path());
    WriteText(path, c.text);
    options_.path = path;
    for (int start = 1; start <= 2; ++start) {
      ASSERT_THAT(AppendAndWait(*store, MakeNewRecord(MakeHeader("s", start))),
                  IsOk());
      const auto file =
          PredictionsFile::Create(options_, *store, clock_, *metrics_).value();
      ASSERT_TRUE(file->WaitUntilCaughtUp(kWait));
      file->Stop(kWait);
    }
    const std::string text = ReadText(path);
    ASSERT_THAT(text, StartsWith(c.kept)) << c.text;
    std::vector<int64_t> ids;
    for (const absl::string_view ours :
         absl::StrSplit(text.substr(c.kept.size()), '\n', absl::SkipEmpty())) {
      ids.push_back(InspectLine(ours).record_id);
    }
    EXPECT_THAT(ids, ElementsAre(1, 2)) << c.text;
    std::string torn;
    std::string foreign;
    for (const auto& entry : std::filesystem::directory_iterator(dir.path())) {
      const std::string name = entry.path().filename().string();
      if (absl::StrContains(name, ".torn-")) torn += ReadText(entry.path());
      if (absl::StrContains(name, ".foreign-")) {
        foreign += ReadText(entry.path());
      }
    }
    EXPECT_EQ(torn, c.torn) << c.text;
    EXPECT_EQ(foreign, c.foreign) << c.text;
  }
}

TEST_F(PredictionsFileTest, NamesADeviceAndAPipeBehindALink) {
  std::filesystem::create_symlink("/dev/full", path_);
  EXPECT_THAT(Open(), StatusIs(absl::StatusCode::kFailedPrecondition,
                               HasSubstr("/dev/full is a special")));
  std::filesystem::remove(path_);
  ASSERT_EQ(::mkfifo(path_.c_str(), 0600), 0);
  EXPECT_THAT(Open(), StatusIs(absl::StatusCode::kFailedPrecondition,
                               HasSubstr("predictions.json is a special")));
}

TEST_F(PredictionsFileTest, WorksWhereALinkLeads) {
  const std::string folder = dir_ / "disk";
  std::filesystem::create_directory(folder);
  WriteText(folder + "/lines.jsonl", "{}\n");
  std::filesystem::create_symlink("lines.jsonl", folder + "/hop");
  std::filesystem::create_symlink("disk/hop", path_);
  OpenAndCatchUp();
  Append(1);
  EXPECT_THAT(LinesOf(folder + "/lines.jsonl"), ElementsAre(0, 1));
  options_.rotate_bytes = 1;
  OpenAndCatchUp();
  Append(2);
  Close();
  EXPECT_TRUE(std::filesystem::is_symlink(path_));
  EXPECT_THAT(LinesOf(folder + "/lines.jsonl-1.json"), ElementsAre(0, 1));
  EXPECT_THAT(LinesOf(folder + "/lines.jsonl-2.json"), ElementsAre(2));
  EXPECT_THAT(ListRotatedPredictions(path_), SizeIs(2));
  EXPECT_THAT(Beside("predictions"), ElementsAre(path_));
  // As a crash in the middle of a rotation leaves it.
  std::filesystem::remove(folder + "/lines.jsonl");
  options_.rotate_bytes = 0;
  OpenAndCatchUp();
  Append(3);
  EXPECT_THAT(LinesOf(folder + "/lines.jsonl"), ElementsAre(3));
}

TEST_F(PredictionsFileTest, NamesALinkThatLeadsNowhere) {
  std::filesystem::create_symlink("/nonexistent/lines", path_);
  EXPECT_THAT(Open(),
              StatusIs(absl::StatusCode::kNotFound,
                       AllOf(HasSubstr("predictions.json is a link"),
                             HasSubstr("/nonexistent/lines: No such"))));
  std::filesystem::remove(path_);
  std::filesystem::create_symlink(path_, path_);
  EXPECT_THAT(Open(), StatusIs(absl::StatusCode::kInternal,
                               HasSubstr("Too many levels")));
}

TEST_F(PredictionsFileTest, TwoStoresNeverWriteOneFile) {
  OpenAndCatchUp();
  Append(1);
  TempDir other;
  const auto store =
      SqliteRecordStore::Create({.data_dir = other.path()}, clock_).value();
  PredictionsFile::Options options = options_;
  options.path = PredictionsPath(other.path());
  std::filesystem::create_symlink(path_, options.path);
  EXPECT_THAT(
      PredictionsFile::Create(options, *store, clock_, *metrics_).status(),
      StatusIs(absl::StatusCode::kFailedPrecondition,
               HasSubstr("another process writes it")));
  EXPECT_THAT(Lines(), ElementsAre(1));
  Close();
  EXPECT_THAT(
      PredictionsFile::Create(options, *store, clock_, *metrics_).status(),
      IsOk());
}

TEST_F(PredictionsFileTest, AClockThatGoesBackLosesAndDoublesNothing) {
  OpenAndCatchUp();
  Append(1);
  clock_.StepWallClock(-absl::Hours(1));
  Append(2);
  OpenAndCatchUp();
  Append(3);
  EXPECT_THAT(Lines(), ElementsAre(1, 2, 3));
  // Two files moved aside at the same time of the clock.
  int batch = 4;
  for (const char* text : {"first", "second"}) {
    Close();
    WriteText(path_, text);
    OpenAndCatchUp();
    Append(batch++);
  }
  EXPECT_THAT(Lines(), ElementsAre(5));
  std::string foreign;
  for (const std::string& name : Beside("predictions.json.foreign-")) {
    foreign += ReadText(name);
  }
  EXPECT_EQ(foreign.size(), std::string("firstsecond").size());
}

TEST_F(PredictionsFileTest, ADiskThatIsFullForAWhileLosesAndDoublesNothing) {
  std::atomic<int> fail = 3;
  options_.retry_interval = absl::Milliseconds(1);
  options_.write = [&fail](int fd, const char* data, size_t size) -> ssize_t {
    if (fail > 0) {
      --fail;
      if (fail % 2 == 1) {
        errno = ENOSPC;
        return -1;
      }
      return ::write(fd, data, size / 2);
    }
    return ::write(fd, data, size);
  };
  OpenAndCatchUp();
  Append(1);
  Append(2);
  EXPECT_THAT(Lines(), ElementsAre(1, 2));
}

TEST_F(PredictionsFileTest, WritesALinePerFrameThatHasADetection) {
  options_.line.per_frame = true;
  OpenAndCatchUp();
  Append(1, {0, 2});
  Append(2);
  Append(3, {1});
  EXPECT_THAT(Lines(), ElementsAre(1, 1, 3));
  OpenAndCatchUp();
  EXPECT_THAT(Lines(), ElementsAre(1, 1, 3));
}

TEST_F(PredictionsFileTest, ARecordWithSomeOfItsLinesIsWrittenWhole) {
  options_.line.per_frame = true;
  OpenAndCatchUp();
  const PredictionsCursor before = store_->GetCursor().value();
  Append(1, {0, 2});
  Close();
  const std::string whole = ReadText(path_);
  ASSERT_THAT(store_->PutCursor(before), IsOk());
  WriteText(path_, whole.substr(0, whole.find('\n') + 1));
  OpenAndCatchUp();
  EXPECT_EQ(ReadText(path_), whole);
}

TEST_F(PredictionsFileTest, AFullFileIsRotatedAndTheNextBegun) {
  Append(1);
  OpenAndCatchUp();
  const auto line = static_cast<int64_t>(ReadText(path_).size());
  options_.rotate_bytes = 2 * line;
  OpenAndCatchUp();
  for (int i = 2; i <= 5; ++i) Append(i);
  Close();
  EXPECT_THAT(LinesOf(dir_ / "predictions-1.json"), ElementsAre(1, 2));
  EXPECT_THAT(LinesOf(dir_ / "predictions-2.json"), ElementsAre(3, 4));
  EXPECT_THAT(Lines(), ElementsAre(5));
  const PredictionsCursor cursor = store_->GetCursor().value();
  EXPECT_EQ(cursor.generation, 3);
  EXPECT_EQ(cursor.offset, static_cast<int64_t>(ReadText(path_).size()));
  EXPECT_EQ(cursor.last_record_id, 5);
  EXPECT_EQ(cursor.rotated, 2);
}

TEST_F(PredictionsFileTest, ManyRecordsAtOnceGoIntoFilesOfThatSize) {
  for (int i = 1; i <= 40; ++i) Append(i);
  options_.rotate_bytes = 10'000;
  OpenAndCatchUp();
  Close();
  std::vector<int64_t> all;
  for (const RotatedPredictions& file : ListRotatedPredictions(path_)) {
    const std::string text = ReadText(file.path);
    EXPECT_GE(text.size(), 10'000U);
    // One line more than the size at most.
    EXPECT_LT(text.size(), 10'000U + text.find('\n') + 10);
    for (const int64_t id : LinesOf(file.path)) all.push_back(id);
  }
  EXPECT_GT(all.size(), 20U);
  for (const int64_t id : Lines()) all.push_back(id);
  ASSERT_THAT(all, SizeIs(40));
  for (int64_t i = 0; i < 40; ++i) {
    EXPECT_EQ(all[static_cast<size_t>(i)], i + 1);
  }
}

TEST_F(PredictionsFileTest, ANumberOfARotatedFileIsNeverUsedAgain) {
  options_.rotate_bytes = 1;
  OpenAndCatchUp();
  Append(1);
  Append(2);
  Close();
  ASSERT_TRUE(std::filesystem::remove(dir_ / "predictions-1.json"));
  ASSERT_TRUE(std::filesystem::remove(dir_ / "predictions-2.json"));
  OpenAndCatchUp();
  Append(3);
  Close();
  WriteText(dir_ / "predictions-7.json", "mine\n");
  WriteText(dir_ / "predictions-08.json", "no number of ours\n");
  OpenAndCatchUp();
  Append(4);
  Close();
  EXPECT_THAT(LinesOf(dir_ / "predictions-3.json"), ElementsAre(3));
  EXPECT_THAT(LinesOf(dir_ / "predictions-8.json"), ElementsAre(4));
  EXPECT_EQ(ReadText(dir_ / "predictions-7.json"), "mine\n");
}

TEST_F(PredictionsFileTest, WhoReadsARotatedFileReadsItWhole) {
  OpenAndCatchUp();
  Append(1);
  Append(2);
  std::ifstream reader(path_, std::ios::binary);
  std::string first;
  ASSERT_TRUE(std::getline(reader, first));
  options_.rotate_bytes = 1;
  OpenAndCatchUp();
  Append(3);
  std::string second;
  ASSERT_TRUE(std::getline(reader, second));
  EXPECT_EQ(InspectLine(second).record_id, 2);
  EXPECT_FALSE(std::getline(reader, second));
}

TEST_F(PredictionsFileTest, ARotatedFileHasTheTimeOfItsNewestRecord) {
  clock_.Advance(absl::Hours(1));
  Append(2);
  Append(1);
  OpenAndCatchUp();
  Close();
  options_.rotate_bytes = 1;
  OpenAndCatchUp();
  Append(4);
  Close();
  const auto files = ListRotatedPredictions(path_);
  ASSERT_THAT(files, SizeIs(2));
  EXPECT_EQ(files[0].newest, testing::FirstFrame() + absl::Seconds(30));
  EXPECT_EQ(files[1].newest, testing::FirstFrame() + absl::Seconds(90));
}

TEST_F(PredictionsFileTest, AnInterruptedRotationGoesOnInTheNextFile) {
  // The rename reached the disk, the cursor's next file did not.
  OpenAndCatchUp();
  Append(1);
  Close();
  std::filesystem::rename(path_, dir_ / "predictions-1.json");
  WriteText(path_, "");
  options_.rotate_bytes = 1;
  OpenAndCatchUp();
  Append(2);
  Close();
  EXPECT_THAT(LinesOf(dir_ / "predictions-1.json"), ElementsAre(1));
  EXPECT_THAT(LinesOf(dir_ / "predictions-2.json"), ElementsAre(2));
  EXPECT_THAT(Beside("predictions.json.torn"), IsEmpty());
}

TEST(InspectLineTest, LooksOnlyAtMetaOfTheObjectItself) {
  EXPECT_EQ(InspectLine(R"({"a": {"record_id": 5}})").record_id, 0);
  EXPECT_EQ(InspectLine(R"({"meta": {"x": {"record_id": 5}}})").record_id, 0);
  EXPECT_EQ(InspectLine(R"({"meta": {"record_id": 5}})").record_id, 5);
  EXPECT_FALSE(InspectLine("[1]").is_object);
  EXPECT_FALSE(InspectLine(R"({"meta": {"record_id": 5})").is_object);
  EXPECT_FALSE(InspectLine("").is_object);
}

}  // namespace
}  // namespace camherd::aggregator
