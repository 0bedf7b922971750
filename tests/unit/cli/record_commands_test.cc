// SPDX-License-Identifier: Apache-2.0
#include "services/cli/record_commands.h"

#include <gmock/gmock.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <memory>

#include "absl/strings/str_cat.h"
#include "camherd/v1/aggregator_service.grpc.pb.h"
#include "services/cli/exit_code.h"
#include "services/common/file.h"
#include "tests/support/temp_dir.h"

namespace camherd::cli {
namespace {

const absl::Time kNow = absl::FromUnixSeconds(1'785'579'300);

TEST(RecordCommandsTest, ATimeIsAnInstantADayOrHowLongAgo) {
  EXPECT_EQ(ParseWhen("--since", "2026-08-01T10:15:00Z", kNow).value(), kNow);
  EXPECT_EQ(ParseWhen("--since", "2026-08-01", kNow).value(),
            absl::FromUnixSeconds(1'785'542'400));
  EXPECT_EQ(ParseWhen("--since", "90s", kNow).value(),
            kNow - absl::Seconds(90));
  EXPECT_EQ(ParseWhen("--since", "2h", kNow).value(), kNow - absl::Hours(2));
  EXPECT_EQ(ParseWhen("--since", "7d", kNow).value(), kNow - absl::Hours(168));
}

TEST(RecordCommandsTest, WhatIsNoTimeIsWrongUsageThatNamesIt) {
  for (const char* text : {"yesterday", "", "h", "-2h", "2w", "1e3h"}) {
    const auto parsed = ParseWhen("--since", text, kNow);
    EXPECT_EQ(ExitCodeOf(parsed.status()), kWrongUsage) << text;
    EXPECT_THAT(std::string(parsed.status().message()),
                ::testing::HasSubstr("--since must be a time"));
  }
}

TEST(RecordCommandsTest, ComplaintsAndClassesOfARecordAreCounted) {
  v1::Record record;
  EXPECT_EQ(ComplaintsOf(record), "-");
  EXPECT_EQ(SeenIn(record), "");
  v1::RecordSection& animals = *record.add_sections();
  animals.set_name("stray_animal");
  animals.set_complaint(1);
  for (const char* name : {"dog", "cow", "dog"}) {
    animals.add_detections()->set_class_name(name);
  }
  record.add_sections()->set_name("pothole");
  EXPECT_EQ(ComplaintsOf(record), "stray_animal");
  EXPECT_EQ(SeenIn(record), "1 cow, 2 dog");
}

// An aggregator whose disk fails in the middle of an export.
class BreakingAggregator final : public v1::AggregatorService::Service {
 public:
  grpc::Status ExportRecords(
      grpc::ServerContext* /*context*/,
      const v1::ExportRecordsRequest* /*request*/,
      grpc::ServerWriter<v1::ExportRecordsResponse>* writer) override {
    v1::ExportRecordsResponse piece;
    piece.set_chunk("{\"basic\": {}}\n");
    writer->Write(piece);
    return {grpc::StatusCode::DATA_LOSS, "the disk failed"};
  }
};

TEST(RecordCommandsTest, AnExportThatBreaksOffLeavesNoFileThatLooksWhole) {
  BreakingAggregator aggregator;
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(),
                           &port);
  builder.RegisterService(&aggregator);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  HerdClient client({.aggregator = absl::StrCat("127.0.0.1:", port)});
  const testing::TempDir dir;
  const std::string path = dir.path() + "/records.jsonl";
  ASSERT_TRUE(WriteFileAtomically(path, "old", Sync::kNone).ok());
  Console console({});
  const absl::Status status = RunExport({.file = path}, client, console);
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(ExitCodeOf(status), kFailed);
  EXPECT_THAT(std::string(status.message()),
              ::testing::AllOf(::testing::HasSubstr("broke off after 14 B"),
                               ::testing::HasSubstr("was not written"),
                               ::testing::HasSubstr("the disk failed")));
  EXPECT_EQ(ReadFile(path, 100).value(), "old");
}

}  // namespace
}  // namespace camherd::cli
