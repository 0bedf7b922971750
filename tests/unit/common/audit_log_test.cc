// SPDX-License-Identifier: Apache-2.0
#include "services/common/audit_log.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <csignal>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "services/common/file.h"
#include "tests/support/fake_clock.h"
#include "tests/support/temp_dir.h"

namespace camherd {
namespace {

using ::camherd::testing::FakeClock;
using ::camherd::testing::TempDir;
using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;
using ::testing::StartsWith;

class AuditLogTest : public ::testing::Test {
 protected:
  AuditLogTest() : path_(dir_ / "audit.jsonl") {}

  AuditLog::Options Options() {
    return {.path = path_, .service = "capture", .counted = [this](bool ok) {
              absl::MutexLock lock(&mu_);
              (ok ? written_ : failed_)++;
            }};
  }
  std::vector<std::string> Lines(const std::string& path) {
    return absl::StrSplit(ReadFile(path, 1 << 24).value_or(""), '\n',
                          absl::SkipEmpty());
  }

  TempDir dir_;
  FakeClock clock_;
  const std::string path_;
  absl::Mutex mu_;
  int written_ = 0;
  int failed_ = 0;
};

TEST_F(AuditLogTest, OnlyItsOwnerMayReadIt) {
  const mode_t before = umask(0);
  AuditLog log(Options(), clock_);
  log.Write({.method = "StopStream"});
  umask(before);
  struct stat info = {};
  ASSERT_EQ(stat(path_.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777u, 0600u);
}

TEST_F(AuditLogTest, AddsToWhatIsThereAndBreaksNoLine) {
  AuditLog(Options(), clock_).Write({.method = "A"});
  AuditLog log(Options(), clock_);
  log.Write({.method = "B", .target = "x\n{\"method\":\"C\"}\xff"});
  log.Write({.method = "D", .target = std::string(100'000, 'x')});
  const auto lines = Lines(path_);
  ASSERT_THAT(lines, SizeIs(3));
  EXPECT_THAT(lines[1], HasSubstr(R"("target":"x\n{\"method\":\"C\"}\ufffd")"));
  EXPECT_LT(lines[2].size(), 1000u);
}

TEST_F(AuditLogTest, HoldsNoSecret) {
  AuditLog log(Options(), clock_);
  log.Write(
      {.method = "A", .target = "rtsp://u:hunter2@192.0.2.1/?token=hunter2"});
  EXPECT_THAT(Lines(path_)[0], Not(HasSubstr("hunter2")));
}

TEST_F(AuditLogTest, BeginsAnewWhenItWasRotatedAway) {
  AuditLog log(Options(), clock_);
  log.Write({.method = "A"});
  std::filesystem::rename(path_, path_ + ".1");
  log.Write({.method = "B"});
  std::filesystem::remove(path_);
  log.Write({.method = "C"});
  EXPECT_THAT(Lines(path_ + ".1"), ElementsAre(HasSubstr("\"A\"")));
  EXPECT_THAT(Lines(path_), ElementsAre(HasSubstr("\"C\"")));
}

TEST_F(AuditLogTest, ManyServicesShareOneFile) {
  std::vector<std::thread> writers;
  for (int i = 0; i < 4; ++i) {
    writers.emplace_back([this] {
      AuditLog log(Options(), clock_);
      for (int k = 0; k < 200; ++k) log.Write({.method = "StopStream"});
    });
  }
  for (std::thread& writer : writers) writer.join();
  const auto lines = Lines(path_);
  EXPECT_THAT(lines, SizeIs(800));
  for (const std::string& line : lines) {
    EXPECT_THAT(line, StartsWith("{\"time\""));
    EXPECT_THAT(line, EndsWith("\"}"));
  }
  EXPECT_EQ(written_, 800);
}

TEST_F(AuditLogTest, WhatCannotBeWrittenIsCountedAndTriedAnewWithTheNext) {
  std::filesystem::create_directory(path_);
  AuditLog log(Options(), clock_);
  log.Write({.method = "A"});
  EXPECT_EQ(failed_, 1);
  std::filesystem::remove(path_);
  log.Write({.method = "B"});
  EXPECT_EQ(written_, 1);
  EXPECT_THAT(Lines(path_), ElementsAre(HasSubstr("\"B\"")));
}

TEST_F(AuditLogTest, ALineThatAFullDiskCutOffSpoilsNoOther) {
  AuditLog log(Options(), clock_);
  log.Write({.method = "A"});
  const auto size = std::filesystem::file_size(path_);
  // The system's limit on a file's size stands for the disk.
  rlimit limit = {};
  getrlimit(RLIMIT_FSIZE, &limit);
  const rlimit less = {.rlim_cur = size + 10, .rlim_max = limit.rlim_max};
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  setrlimit(RLIMIT_FSIZE, &less);
  log.Write({.method = "B"});
  setrlimit(RLIMIT_FSIZE, &limit);
  std::signal(SIGXFSZ, handler);
  log.Write({.method = "C"});
  EXPECT_EQ(failed_, 1);
  const auto lines = Lines(path_);
  ASSERT_THAT(lines, SizeIs(3));
  EXPECT_EQ(lines[1].size(), 10u);
  EXPECT_THAT(lines[2], HasSubstr("\"C\""));
}

}  // namespace
}  // namespace camherd
