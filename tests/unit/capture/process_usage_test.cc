// SPDX-License-Identifier: Apache-2.0
#include "services/capture/process_usage.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <ctime>
#include <string>
#include <vector>

#include "services/common/file.h"
#include "tests/support/status_matchers.h"
#include "tests/unit/capture/supervisor_testbed.h"

namespace camherd::capture {
namespace {

using ::camherd::testing::IsOk;
using ::camherd::testing::StatusIs;
using testing::TempDir;

TEST(ProcessUsageTest, KnowsCpuTimeAndMemoryOfAProcess) {
  // So that there is some.
  timespec used = {};
  while (used.tv_sec == 0 && used.tv_nsec < 50000000) {
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
  }
  const auto before = ReadProcessUsage(getpid());
  ASSERT_THAT(before, IsOk());
  EXPECT_NEAR(before->cpu_seconds,
              static_cast<double>(used.tv_sec) +
                  static_cast<double>(used.tv_nsec) * 1e-9,
              0.04);
  const std::vector<char> memory(64 << 20);
  const auto after = ReadProcessUsage(getpid());
  ASSERT_THAT(after, IsOk());
  EXPECT_GE(after->memory_bytes - before->memory_bytes, 60 << 20);
  EXPECT_LE(after->memory_bytes - before->memory_bytes, 80 << 20);
}

TEST(ProcessUsageTest, AProcessThatIsGoneIsNotFound) {
  EXPECT_THAT(ReadProcessUsage(1 << 30), StatusIs(absl::StatusCode::kNotFound));
}

TEST(ProcessUsageTest, TheSmallestQuotaOnTheWayUpHolds) {
  const TempDir dir;
  const auto write = [&](const std::string& cgroup, const std::string& text) {
    ASSERT_THAT(MakeDirs(dir.path() + cgroup), IsOk());
    ASSERT_THAT(WriteFileAtomically(dir.path() + cgroup + "/cpu.max", text,
                                    Sync::kNone),
                IsOk());
  };
  EXPECT_EQ(CgroupCores(dir.path(), "/a/b"), 0);
  write("/a/b", "max 100000\n");
  EXPECT_EQ(CgroupCores(dir.path(), "/a/b"), 0);
  write("/a", "150000 100000\n");
  EXPECT_EQ(CgroupCores(dir.path(), "/a/b"), 1.5);
  write("", "300000 100000\n");
  EXPECT_EQ(CgroupCores(dir.path(), "/a/b"), 1.5);
  EXPECT_EQ(CgroupCores(dir.path(), "/"), 3);
}

TEST(ProcessUsageTest, ThisProcessMayUseSomething) {
  EXPECT_GT(UsableCores(), 0);
  EXPECT_LE(UsableCores(), sysconf(_SC_NPROCESSORS_CONF));
  EXPECT_GT(UsableMemory(), int64_t{64} << 20);
}

}  // namespace
}  // namespace camherd::capture
