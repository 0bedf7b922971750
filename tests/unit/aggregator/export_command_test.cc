// SPDX-License-Identifier: Apache-2.0
#include "services/aggregator/export_command.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <map>
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

using ::camherd::aggregator::testing::AppendAndWait;
using ::camherd::aggregator::testing::MakeHeader;
using ::camherd::aggregator::testing::MakeNewRecord;
using ::camherd::aggregator::testing::ReadText;
using ::camherd::testing::FakeClock;
using ::camherd::testing::IsOk;
using ::camherd::testing::TempDir;
using ::testing::HasSubstr;
using ::testing::StartsWith;

class ExportCommandTest : public ::testing::Test {
 protected:
  // Returns the exit code.
  int Run(const std::map<std::string, std::string>& given) {
    FILE* const out = std::fopen((dir_ / "out").c_str(), "w");
    FILE* const err = std::fopen((dir_ / "err").c_str(), "w");
    const int code = RunExportCommand(
        given, dir_.path(), {.timezone = absl::UTCTimeZone()}, out, err);
    std::fclose(out);
    std::fclose(err);
    return code;
  }

  TempDir dir_;
  FakeClock clock_;
};

TEST_F(ExportCommandTest, WritesBesideTheServiceThatHasTheStore) {
  const auto store =
      SqliteRecordStore::Create({.data_dir = dir_.path()}, clock_).value();
  ASSERT_THAT(AppendAndWait(*store, MakeNewRecord(MakeHeader("s", 1))), IsOk());
  EXPECT_EQ(Run({{"format", "csv"}, {"since", "2026-08-01"}}), 0);
  EXPECT_THAT(ReadText(dir_ / "out"), StartsWith("record_id,"));
  EXPECT_THAT(ReadText(dir_ / "err"), HasSubstr("1 records"));
  EXPECT_EQ(Run({{"until", "2026-08-01T10:00:00Z"}}), 0);
  EXPECT_EQ(ReadText(dir_ / "out"), "");
  // The service goes on.
  EXPECT_THAT(AppendAndWait(*store, MakeNewRecord(MakeHeader("s", 2))), IsOk());
}

TEST_F(ExportCommandTest, WithoutRecordsNothingIsMade) {
  EXPECT_EQ(Run({}), 1);
  EXPECT_THAT(ReadText(dir_ / "err"), HasSubstr("records.db is not there"));
  EXPECT_EQ(std::fopen((dir_ / "records.db").c_str(), "r"), nullptr);
}

TEST_F(ExportCommandTest, WrongUsageIsNamed) {
  const std::pair<std::map<std::string, std::string>, const char*> cases[] = {
      {{{"format", "xml"}}, "xml"},
      {{{"since", "yesterday"}}, "--since"},
      {{{"camera", "../x"}}, "--camera"},
      {{{"since", "2026-08-02"}, {"until", "2026-08-01"}}, "--until"}};
  for (const auto& [given, named] : cases) {
    EXPECT_EQ(Run(given), 2);
    EXPECT_THAT(ReadText(dir_ / "err"), HasSubstr(named));
  }
}

TEST_F(ExportCommandTest, AFullDiskIsAnError) {
  const auto store =
      SqliteRecordStore::Create({.data_dir = dir_.path()}, clock_).value();
  ASSERT_THAT(AppendAndWait(*store, MakeNewRecord(MakeHeader("s", 1))), IsOk());
  FILE* const full = std::fopen("/dev/full", "w");
  FILE* const err = std::fopen((dir_ / "err").c_str(), "w");
  EXPECT_EQ(RunExportCommand({}, dir_.path(), {.timezone = absl::UTCTimeZone()},
                             full, err),
            1);
  std::fclose(full);
  std::fclose(err);
  EXPECT_THAT(ReadText(dir_ / "err"), HasSubstr("space"));
}

}  // namespace
}  // namespace camherd::aggregator
