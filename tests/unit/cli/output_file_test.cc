// SPDX-License-Identifier: Apache-2.0
#include "services/cli/output_file.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "services/common/file.h"
#include "tests/support/temp_dir.h"

namespace camherd::cli {
namespace {

class OutputFileTest : public ::testing::Test {
 protected:
  std::string Read() const { return ReadFile(path_, 1000).value_or("none"); }
  // All names in the folder.
  size_t Files() const {
    size_t count = 0;
    for (const auto& entry : std::filesystem::directory_iterator(dir_.path())) {
      count += entry.exists() ? 1 : 0;
    }
    return count;
  }

  testing::TempDir dir_;
  const std::string path_ = dir_.path() + "/records.csv";
};

TEST_F(OutputFileTest, AFileIsThereOnceItIsWhole) {
  {
    const auto file = OutputFile::Create(path_).value();
    ASSERT_TRUE(file->Write("one ").ok());
    ASSERT_TRUE(file->Write("two").ok());
    EXPECT_EQ(Read(), "none");
    ASSERT_TRUE(file->Commit().ok());
  }
  EXPECT_EQ(Read(), "one two");
  EXPECT_EQ(Files(), 1);
}

TEST_F(OutputFileTest, OneThatBrokeOffLeavesWhatWasThere) {
  ASSERT_TRUE(WriteFileAtomically(path_, "old", Sync::kNone).ok());
  {
    const auto file = OutputFile::Create(path_).value();
    ASSERT_TRUE(file->Write("half").ok());
  }
  EXPECT_EQ(Read(), "old");
  EXPECT_EQ(Files(), 1);
}

TEST_F(OutputFileTest, AFolderOrADeviceIsNoFile) {
  EXPECT_FALSE(OutputFile::Create(dir_.path()).ok());
  EXPECT_FALSE(OutputFile::Create("/dev/null").ok());
  EXPECT_FALSE(OutputFile::Create(dir_.path() + "/none/x").ok());
}

}  // namespace
}  // namespace camherd::cli
