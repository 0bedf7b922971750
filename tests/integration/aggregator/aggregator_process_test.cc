// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "camherd/v1/aggregator_service.grpc.pb.h"
#include "services/aggregator/data_layout.h"
#include "services/aggregator/predictions_file_recovery.h"
#include "services/common/grpc_client.h"
#include "services/common/grpc_status.h"
#include "services/common/retry_delay.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"
#include "tests/unit/aggregator/aggregator_testing.h"

namespace camherd::aggregator {
namespace {

using ::camherd::aggregator::testing::FakePicture;
using ::camherd::aggregator::testing::MakeHeader;
using ::camherd::aggregator::testing::ReadText;
using ::camherd::aggregator::testing::WriteText;
using ::camherd::testing::IsOk;
using ::camherd::testing::StatusIs;
using ::camherd::testing::TempDir;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// The real binary on a data folder.
class Process {
 public:
  explicit Process(const std::string& data_dir, const std::string& yaml = "") {
    const std::string config = data_dir + "/test.yaml";
    WriteText(config,
              "aggregator:\n  listen: 127.0.0.1:0\n"
              "  metrics_listen: 127.0.0.1:0\n" +
                  yaml);
    int err[2];
    if (::pipe2(err, O_CLOEXEC) != 0) std::abort();
    pid_ = ::fork();
    if (pid_ == 0) {
      ::dup2(err[1], STDERR_FILENO);
      ::execl(CAMHERD_AGGREGATOR, CAMHERD_AGGREGATOR, "--config",
              config.c_str(), "--data-dir", data_dir.c_str(), nullptr);
      ::_exit(127);
    }
    ::close(err[1]);
    log_ = ::fdopen(err[0], "r");
  }
  ~Process() {
    if (pid_ > 0) End(SIGKILL);
    std::fclose(log_);
  }
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  // The next log line with `text`; empty when the log ended before.
  std::string WaitForLog(const std::string& text) {
    char line[65536];
    while (std::fgets(line, sizeof(line), log_) != nullptr) {
      log_text_ += line;
      if (std::string(line).find(text) != std::string::npos) return line;
    }
    return "";
  }

  // Waits until it serves.
  std::unique_ptr<v1::AggregatorService::Stub> Connect() {
    const std::string line = WaitForLog("serving");
    const size_t at = line.find("grpc=");
    if (at == std::string::npos) return nullptr;
    const size_t end = line.find_first_of(" \n", at);
    return v1::AggregatorService::NewStub(
        MakeChannel(line.substr(at + 5, end - at - 5)));
  }

  // Exit status after `signal`, 0: none sent; -1: killed by a signal.
  int End(int signal) {
    if (signal != 0) ::kill(pid_, signal);
    int status = 0;
    ::waitpid(std::exchange(pid_, 0), &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

  const std::string& log_text() const { return log_text_; }

 private:
  pid_t pid_ = 0;
  FILE* log_ = nullptr;
  std::string log_text_;
};

absl::Status Add(v1::AggregatorService::Stub& stub, int64_t batch_seq,
                 size_t padding = 0) {
  v1::AddBatchResultHeader header = MakeHeader("s", batch_seq, 1);
  const std::string jpeg =
      FakePicture("s", batch_seq, 0) + std::string(padding, 'x');
  header.mutable_manifest()->mutable_frames(0)->set_sha256(Sha256(jpeg));
  header.mutable_manifest()->mutable_frames(0)->clear_size_bytes();
  grpc::ClientContext context;
  SetDeadline(context, absl::Seconds(30));
  context.set_wait_for_ready(true);
  v1::AddBatchResultResponse response;
  auto writer = stub.AddBatchResult(&context, &response);
  v1::AddBatchResultRequest request;
  *request.mutable_header() = header;
  if (writer->Write(request)) {
    request.mutable_picture()->set_frame_index(0);
    request.mutable_picture()->set_jpeg(jpeg);
    writer->Write(request);
  }
  writer->WritesDone();
  return FromGrpcStatus(writer->Finish(), &context);
}

std::vector<int64_t> Lines(const std::string& data_dir) {
  std::vector<int64_t> ids;
  for (const absl::string_view line : absl::StrSplit(
           ReadText(PredictionsPath(data_dir)), '\n', absl::SkipEmpty())) {
    ids.push_back(InspectLine(line).record_id);
  }
  return ids;
}

TEST(AggregatorProcessTest, SigtermLeavesTheFileCaughtUpAndExitsWithZero) {
  TempDir dir;
  Process process(dir.path());
  const auto stub = process.Connect();
  ASSERT_NE(stub, nullptr);
  for (int i = 1; i <= 20; ++i) ASSERT_THAT(Add(*stub, i), IsOk());
  EXPECT_EQ(process.End(SIGTERM), 0);
  EXPECT_EQ(Lines(dir.path()).size(), 20U);
}

TEST(AggregatorProcessTest, AfterSigkillWhatWasAcknowledgedIsThereOnce) {
  TempDir dir;
  int64_t acknowledged = 0;
  for (int round = 0; round < 3; ++round) {
    Process process(dir.path());
    const auto stub = process.Connect();
    ASSERT_NE(stub, nullptr);
    // The last one acknowledged comes again, as after a lost answer.
    if (acknowledged > 0) {
      ASSERT_THAT(Add(*stub, acknowledged), IsOk());
    }
    for (int i = 0; i < 5; ++i) {
      ASSERT_THAT(Add(*stub, acknowledged + 1), IsOk());
      ++acknowledged;
    }
    EXPECT_EQ(process.End(SIGKILL), -1);
  }
  Process process(dir.path());
  ASSERT_NE(process.Connect(), nullptr);
  EXPECT_EQ(process.End(SIGTERM), 0);
  EXPECT_THAT(Lines(dir.path()),
              ElementsAre(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
}

TEST(AggregatorProcessTest, ASecondOneOnTheSameFolderSaysSoAndEnds) {
  TempDir dir;
  Process first(dir.path());
  ASSERT_NE(first.Connect(), nullptr);
  Process second(dir.path());
  EXPECT_THAT(second.WaitForLog("another process"),
              HasSubstr("aggregator.lock"));
  EXPECT_EQ(second.End(0), 1);
}

TEST(AggregatorProcessTest, ABadKeyEndsTheStartWithItsLine) {
  TempDir dir;
  Process process(dir.path(), "  per_frame: 1\n");
  EXPECT_THAT(process.WaitForLog("per_frame"), HasSubstr("test.yaml:4"));
  EXPECT_EQ(process.End(0), 2);
}

TEST(AggregatorProcessTest, AFullDiskRefusesAndLosesNothingAcknowledged) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root to mount a tmpfs";
  TempDir dir;
  if (::mount("tmpfs", dir.path().c_str(), "tmpfs", 0, "size=4m") != 0) {
    GTEST_SKIP() << "cannot mount a tmpfs here";
  }
  int64_t acknowledged = 0;
  {
    // No reserve, so that the writes themselves meet the full disk.
    Process process(dir.path(),
                    "  low_disk_bytes: 0\n  full_disk_bytes: 0\n"
                    "  predictions_retry_seconds: 0.01\n");
    const auto stub = process.Connect();
    ASSERT_NE(stub, nullptr);
    absl::Status status;
    while ((status = Add(*stub, acknowledged + 1, 100000)).ok()) ++acknowledged;
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kResourceExhausted));
    EXPECT_TRUE(RetryDelay(status).has_value());
    EXPECT_EQ(process.End(SIGTERM), 0);
  }
  ASSERT_GE(acknowledged, 5);
  ASSERT_EQ(
      ::mount("tmpfs", dir.path().c_str(), "tmpfs", MS_REMOUNT, "size=64m"), 0);
  {
    Process process(dir.path(), "  low_disk_bytes: 0\n  full_disk_bytes: 0\n");
    const auto stub = process.Connect();
    ASSERT_NE(stub, nullptr);
    EXPECT_THAT(Add(*stub, acknowledged + 1, 100000), IsOk());
    EXPECT_EQ(process.End(SIGTERM), 0);
  }
  const std::vector<int64_t> lines = Lines(dir.path());
  ASSERT_EQ(lines.size(), static_cast<size_t>(acknowledged) + 1);
  for (size_t i = 0; i < lines.size(); ++i) {
    EXPECT_EQ(lines[i], static_cast<int64_t>(i) + 1);
  }
  ::umount(dir.path().c_str());
}

}  // namespace
}  // namespace camherd::aggregator
