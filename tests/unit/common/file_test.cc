// SPDX-License-Identifier: Apache-2.0
#include "services/common/file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace camherd {
namespace {

using ::camherd::testing::StatusIs;
using ::camherd::testing::TempDir;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;

std::vector<std::string> NamesIn(const std::string& folder) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    names.push_back(entry.path().filename());
  }
  return names;
}

unsigned ModeOf(const std::string& path) {
  struct stat info = {};
  stat(path.c_str(), &info);
  return info.st_mode & 07777;
}

class WriteFileAtomicallyTest : public ::testing::TestWithParam<Sync> {};

TEST_P(WriteFileAtomicallyTest, WritesReadsBackAndLeavesNothingElse) {
  TempDir dir;
  const std::string data("a\0b\n\xff", 5);
  CAMHERD_ASSERT_OK(WriteFileAtomically(dir / "x", data, GetParam()));
  EXPECT_EQ(ReadFile(dir / "x", 100).value(), data);
  EXPECT_THAT(NamesIn(dir.path()), UnorderedElementsAre("x"));
}

TEST_P(WriteFileAtomicallyTest, ReplacesWhatWasThere) {
  TempDir dir;
  CAMHERD_ASSERT_OK(WriteFileAtomically(dir / "x", "long before", GetParam()));
  CAMHERD_ASSERT_OK(WriteFileAtomically(dir / "x", "now", GetParam()));
  EXPECT_EQ(ReadFile(dir / "x", 100).value(), "now");
}

INSTANTIATE_TEST_SUITE_P(All, WriteFileAtomicallyTest,
                         ::testing::Values(Sync::kNone, Sync::kData));

TEST(WriteFileAtomicallyTest, GivesTheModeItIsAskedFor) {
  TempDir dir;
  CAMHERD_ASSERT_OK(WriteFileAtomically(dir / "x", "", Sync::kNone, 0600));
  EXPECT_EQ(ModeOf(dir / "x"), 0600u);
}

TEST(WriteFileAtomicallyTest, NamesPathAndErrorWhereTheFolderIsMissing) {
  TempDir dir;
  EXPECT_THAT(
      WriteFileAtomically(dir / "no/x", "data", Sync::kNone),
      StatusIs(absl::StatusCode::kNotFound,
               AllOf(HasSubstr(dir / "no/x"), HasSubstr("No such file"))));
}

TEST(WriteFileAtomicallyTest, AFailedWriteKeepsTheOldFileAndNoTemporaryOne) {
  TempDir dir;
  CAMHERD_ASSERT_OK(WriteFileAtomically(dir / "x", "old", Sync::kNone));
  rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit small = {.rlim_cur = 1000, .rlim_max = before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  const absl::Status status =
      WriteFileAtomically(dir / "x", std::string(5000, 'n'), Sync::kNone);
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kInternal,
                               HasSubstr("File too large")));
  EXPECT_EQ(ReadFile(dir / "x", 100).value(), "old");
  EXPECT_THAT(NamesIn(dir.path()), UnorderedElementsAre("x"));
}

TEST(WriteFileAtomicallyTest, WritersOfOneFileNeverMix) {
  TempDir dir;
  std::vector<std::thread> writers;
  for (const char c : {'a', 'b', 'c'}) {
    writers.emplace_back([&dir, c] {
      for (int i = 0; i < 50; ++i) {
        CAMHERD_EXPECT_OK(
            WriteFileAtomically(dir / "x", std::string(10000, c), Sync::kNone));
      }
    });
  }
  for (int i = 0; i < 50; ++i) {
    const auto data = ReadFile(dir / "x", 20000);
    if (!data.ok()) continue;  // Not there yet.
    EXPECT_EQ(*data, std::string(10000, data->front()));
  }
  for (std::thread& writer : writers) writer.join();
  EXPECT_THAT(NamesIn(dir.path()), UnorderedElementsAre("x"));
}

TEST(ReadFileTest, RefusesAFileLongerThanAllowedAndTakesOneAsLong) {
  TempDir dir;
  CAMHERD_ASSERT_OK(WriteFileAtomically(dir / "x", "12345", Sync::kNone));
  EXPECT_EQ(ReadFile(dir / "x", 5).value(), "12345");
  EXPECT_THAT(ReadFile(dir / "x", 4),
              StatusIs(absl::StatusCode::kOutOfRange,
                       HasSubstr("must be at most 4 bytes")));
}

TEST(ReadFileTest, ReadsFilesWhoseSizeTheSystemDoesNotTell) {
  EXPECT_THAT(ReadFile("/proc/self/status", 1 << 20).value(),
              HasSubstr("Name:"));
}

TEST(ReadFileTest, ReadsAnEmptyFile) {
  TempDir dir;
  CAMHERD_ASSERT_OK(WriteFileAtomically(dir / "x", "", Sync::kNone));
  EXPECT_EQ(ReadFile(dir / "x", 0).value(), "");
}

TEST(ReadFileTest, AFolderIsAnErrorNotAnEmptyFile) {
  TempDir dir;
  EXPECT_THAT(ReadFile(dir.path(), 10),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("directory")));
}

TEST(MakeDirsTest, MakesParentsAndIsFineIfTheyExist) {
  TempDir dir;
  CAMHERD_ASSERT_OK(MakeDirs(dir / "a/b//c/"));
  EXPECT_TRUE(std::filesystem::is_directory(dir / "a/b/c"));
  CAMHERD_EXPECT_OK(MakeDirs(dir / "a/b/c"));
  CAMHERD_EXPECT_OK(MakeDirs(dir / "p", 0700));
  EXPECT_EQ(ModeOf(dir / "p"), 0700u);
}

TEST(MakeDirsTest, NamesTheFileThatIsInTheWay) {
  TempDir dir;
  CAMHERD_ASSERT_OK(WriteFileAtomically(dir / "a", "", Sync::kNone));
  EXPECT_THAT(MakeDirs(dir / "a/b"),
              StatusIs(absl::StatusCode::kInternal,
                       HasSubstr(absl::StrCat("mkdir ", dir / "a:"))));
  EXPECT_THAT(MakeDirs(""), StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST(SyncDirTest, SucceedsOnAFolderAndFailsOnNone) {
  TempDir dir;
  CAMHERD_EXPECT_OK(SyncDir(dir.path()));
  EXPECT_THAT(SyncDir(dir / "no"), StatusIs(absl::StatusCode::kNotFound));
}

TEST(ErrnoStatusTest, MapsTheErrorsThatCallersTellApart) {
  const auto code = [](int error) {
    return ErrnoStatus(error, "write", "/x").code();
  };
  EXPECT_EQ(code(ENOENT), absl::StatusCode::kNotFound);
  EXPECT_EQ(code(ENOSPC), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(code(EDQUOT), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(code(EACCES), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(code(EPERM), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(code(EROFS), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(code(EIO), absl::StatusCode::kUnavailable);
  EXPECT_EQ(code(EMFILE), absl::StatusCode::kInternal);
  EXPECT_EQ(ErrnoStatus(ENOSPC, "write", "/x").message(),
            "write /x: No space left on device");
}

TEST(Sha256Test, MatchesTheVectorsOfTheStandard) {
  EXPECT_EQ(Sha256Hex(""),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(Sha256Hex("abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(Sha256("abc").size(), 32u);
}

TEST(Sha256Test, OfAFileIsThatOfItsContent) {
  TempDir dir;
  for (const size_t size : {0, 1, 65535, 65536, 65537, 200000}) {
    const std::string data(size, 'x');
    CAMHERD_ASSERT_OK(WriteFileAtomically(dir / "x", data, Sync::kNone));
    EXPECT_EQ(Sha256HexOfFile(dir / "x").value(), Sha256Hex(data));
  }
  EXPECT_THAT(Sha256HexOfFile(dir / "no"),
              StatusIs(absl::StatusCode::kNotFound));
}

}  // namespace
}  // namespace camherd
