// SPDX-License-Identifier: Apache-2.0
#include "services/inference/install_progress.h"

#include <gtest/gtest.h>

#include "services/inference/environment_hints.h"

namespace camherd::inference {
namespace {

TEST(InstallProgressTest, FollowsUv) {
  InstallProgress progress;
  EXPECT_EQ(progress.text(), "resolving");
  progress.AddLine("Using Python 3.11.2 environment at: venvs/animals");
  progress.AddLine("Resolved 59 packages in 1.20s");
  EXPECT_EQ(progress.total(), 59);
  progress.AddLine("Downloading torch (800.1MiB)");
  EXPECT_EQ(progress.text(), "downloading torch (800.1MiB)");
  progress.AddLine("Prepared 59 packages in 12.0s");
  progress.SetInstalled(7);
  EXPECT_EQ(progress.text(), "installing 7 of 59");
  EXPECT_EQ(progress.done(), 7);
}

TEST(InstallProgressTest, FollowsPip) {
  InstallProgress progress;
  progress.AddLine("Collecting torch==2.14.1 (from -r requirements.txt)");
  EXPECT_EQ(progress.text(), "collecting torch (package 1)");
  EXPECT_EQ(progress.total(), 0);
  progress.AddLine("Installing collected packages: six, numpy, torch");
  EXPECT_EQ(progress.text(), "installing 0 of 3");
  progress.SetInstalled(5);
  EXPECT_EQ(progress.done(), 3);
}

TEST(EnvironmentHintsTest, KnowsTheCommonCases) {
  const auto says = [](const char* log, const char* word) {
    return HintForInstallLog(log).find(word) != std::string::npos;
  };
  EXPECT_TRUE(says("ERROR: No matching distribution found for torch",
                   "Python 3.10-3.12"));
  EXPECT_TRUE(says("OSError: [Errno 28] No space left on device", "disk"));
  EXPECT_TRUE(says("/venv/bin/python: No module named pip", "python3-venv"));
  EXPECT_TRUE(
      says("The virtual environment was not created successfully "
           "because ensurepip is not available.",
           "python3-venv"));
  // Without network pip ends with "No matching distribution" too.
  EXPECT_TRUE(
      says("NewConnectionError(...) | ERROR: Could not find a version "
           "| No matching distribution found for x",
           "network"));
  EXPECT_TRUE(says("error: Failed to fetch | dns error", "network"));
  EXPECT_EQ(HintForInstallLog("something else"), "");
}

}  // namespace
}  // namespace camherd::inference
