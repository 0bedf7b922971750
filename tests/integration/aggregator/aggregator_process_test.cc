// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
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
  // `user` 0: as the test itself.
  explicit Process(const std::string& data_dir, const std::string& yaml = "",
                   uid_t user = 0) {
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
      if (user != 0 && (::setgid(user) != 0 || ::setuid(user) != 0)) {
        ::_exit(127);
      }
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
    address_ = line.substr(at + 5, end - at - 5);
    return v1::AggregatorService::NewStub(MakeChannel(address_));
  }
  // Of the service that Connect waited for.
  const std::string& address() const { return address_; }

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
  std::string address_;
};

constexpr uid_t kNobody = 65534;

struct Ended {
  int code = 0;
  std::string err;
};

// `camherd-aggregator import FILE` to its end.
Ended Import(const std::string& data_dir, const std::string& file,
             const std::vector<std::string>& more = {}) {
  std::string command = absl::StrCat(CAMHERD_AGGREGATOR, " import ", file,
                                     " --data-dir ", data_dir);
  for (const std::string& word : more) absl::StrAppend(&command, " ", word);
  FILE* const pipe = ::popen(absl::StrCat(command, " 2>&1").c_str(), "r");
  Ended ended;
  char text[4096];
  while (std::fgets(text, sizeof(text), pipe) != nullptr) ended.err += text;
  ended.code = WEXITSTATUS(::pclose(pipe));
  return ended;
}

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

TEST(AggregatorProcessTest, AnImportGoesThroughTheServiceOrAroundIt) {
  TempDir dir;
  const std::string file = dir / "old.json";
  const std::string line = absl::StrReplaceAll(
      ReadText(absl::StrCat(CAMHERD_GOLDEN_DIR,
                            "/orchestrator_record/example.json")),
      {{"\n", " "}});
  WriteText(file, absl::StrCat(line, "\n", "nonsense\n"));
  Ended ended = Import(dir.path(), file);
  EXPECT_EQ(ended.code, 3);
  EXPECT_THAT(ended.err, HasSubstr("line 2: a record must be a JSON object, "
                                   "got \"nonsense\""));
  EXPECT_THAT(ended.err, HasSubstr("1 records imported, 0 there already"));
  WriteText(file, absl::StrCat("[", line, ",\n",
                               absl::StrReplaceAll(line, {{"16:45", "17:45"}}),
                               "]\n"));
  {
    Process process(dir.path());
    auto stub = process.Connect();
    ASSERT_NE(stub, nullptr);
    // Its port is not in the configuration.
    ended = Import(dir.path(), file, {"--config", dir / "test.yaml"});
    EXPECT_EQ(ended.code, 1);
    EXPECT_THAT(ended.err, HasSubstr("--address"));
    ended = Import(dir.path(), file, {"--address", process.address()});
    EXPECT_EQ(ended.code, 0) << ended.err;
    EXPECT_THAT(ended.err, HasSubstr("1 records imported, 1 there already"));
    ASSERT_THAT(Add(*stub, 1), IsOk());
    // A stop waits for clients that do not listen.
    stub = nullptr;
    EXPECT_EQ(process.End(SIGTERM), 0);
  }
  // From standard input, without the service again.
  ended = Import(dir.path(), "-", {"<", file});
  EXPECT_EQ(ended.code, 0) << ended.err;
  EXPECT_THAT(ended.err, HasSubstr("0 records imported, 2 there already"));
  // The record that was added, and none that was imported.
  EXPECT_THAT(Lines(dir.path()), ElementsAre(3));

  EXPECT_EQ(Import(dir.path(), "").code, 2);
  ended = Import(dir.path(), dir / "none");
  EXPECT_EQ(ended.code, 1);
  EXPECT_THAT(ended.err, HasSubstr("No such file"));
  ended = Import(dir.path(), dir.path());
  EXPECT_EQ(ended.code, 1);
  EXPECT_THAT(ended.err, HasSubstr("is a folder"));
}

// What is wrong at the start ends it with a line that names it.
TEST(AggregatorProcessTest, AStartThatCannotBeNamesWhatIsInItsWay) {
  struct Case {
    std::string name;
    std::function<void(const std::string& dir)> prepare;
    std::string named;
    uid_t user = 0;
  };
  const Case cases[] = {
      {"a data folder of a newer version",
       [](const std::string& dir) {
         sqlite3* db = nullptr;
         ASSERT_EQ(sqlite3_open(DatabaseFile(dir).c_str(), &db), SQLITE_OK);
         ASSERT_EQ(sqlite3_exec(db, "PRAGMA user_version=999", nullptr, nullptr,
                                nullptr),
                   SQLITE_OK);
         sqlite3_close(db);
       },
       "schema version 999"},
      {"records.db is none",
       [](const std::string& dir) {
         WriteText(DatabaseFile(dir), std::string(20000, 'x'));
       },
       "records.db"},
      {"predictions.json is a folder",
       [](const std::string& dir) {
         std::filesystem::create_directory(PredictionsPath(dir));
       },
       "predictions.json is a folder"},
      {"predictions.json is a device",
       [](const std::string& dir) {
         std::filesystem::create_symlink("/dev/null", PredictionsPath(dir));
       },
       "predictions.json is a link: /dev/null is a special file"},
      {"images is a file",
       [](const std::string& dir) { WriteText(ImagesDir(dir), ""); },
       "images: Not a directory"},
      {"predictions.json is somebody else's",
       [](const std::string& dir) {
         WriteText(PredictionsPath(dir), "{}\n");
         ASSERT_EQ(::chown(dir.c_str(), kNobody, kNobody), 0);
       },
       "it belongs to user 0, this process is of user 65534", kNobody},
      {"a folder that cannot be written",
       [](const std::string& dir) { ASSERT_EQ(::chmod(dir.c_str(), 0755), 0); },
       "aggregator.lock: Permission denied", kNobody},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    if (c.user != 0 && ::geteuid() != 0) {
      std::printf("not run, needs root: %s\n", c.name.c_str());
      continue;
    }
    TempDir dir;
    c.prepare(dir.path());
    Process process(dir.path(), "", c.user);
    process.WaitForLog("nothing says this");
    const int code = process.End(0);
    if (c.user != 0 && code == 127) {
      std::printf("not run, the binary is not for others: %s\n",
                  c.name.c_str());
      continue;
    }
    EXPECT_EQ(code, 1);
    EXPECT_THAT(process.log_text(), HasSubstr("aggregator cannot run"));
    EXPECT_THAT(process.log_text(), HasSubstr(c.named));
  }
}

TEST(AggregatorProcessTest, AFullTableOfInodesIsNamedAndLosesNothing) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root to mount a tmpfs";
  TempDir dir;
  if (::mount("tmpfs", dir.path().c_str(), "tmpfs", 0,
              "size=64m,nr_inodes=100") != 0) {
    GTEST_SKIP() << "cannot mount a tmpfs here";
  }
  int64_t acknowledged = 0;
  {
    Process process(dir.path(),
                    "  low_disk_bytes: 0\n  full_disk_bytes: 0\n"
                    "  disk_poll_seconds: 0.01\n");
    auto stub = process.Connect();
    ASSERT_NE(stub, nullptr);
    absl::Status status;
    while ((status = Add(*stub, acknowledged + 1)).ok()) ++acknowledged;
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kResourceExhausted,
                                 HasSubstr("inodes")));
    EXPECT_TRUE(RetryDelay(status).has_value());
    stub = nullptr;
    EXPECT_EQ(process.End(SIGTERM), 0);
    // What is read of the log after its end.
    process.WaitForLog("nothing says this");
    EXPECT_THAT(process.log_text(), HasSubstr("the table of inodes is full"));
  }
  {
    // Nor is there one for the log of the database.
    for (int i = 0; std::ofstream(absl::StrCat(dir.path(), "/", i)); ++i) {
    }
    Process process(dir.path());
    process.WaitForLog("nothing says this");
    EXPECT_EQ(process.End(0), 1);
    EXPECT_THAT(process.log_text(),
                HasSubstr("unable to open database file: the table of inodes"));
  }
  ASSERT_GE(acknowledged, 10);
  ASSERT_EQ(::mount("tmpfs", dir.path().c_str(), "tmpfs", MS_REMOUNT,
                    "size=64m,nr_inodes=1000"),
            0);
  {
    Process process(dir.path(), "  low_disk_bytes: 0\n  full_disk_bytes: 0\n");
    auto stub = process.Connect();
    ASSERT_NE(stub, nullptr);
    EXPECT_THAT(Add(*stub, acknowledged + 1), IsOk());
    stub = nullptr;
    EXPECT_EQ(process.End(SIGTERM), 0);
  }
  const std::vector<int64_t> lines = Lines(dir.path());
  EXPECT_EQ(lines.size(), static_cast<size_t>(acknowledged) + 1);
  ::umount(dir.path().c_str());
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
