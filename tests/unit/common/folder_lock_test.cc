// SPDX-License-Identifier: Apache-2.0
#include "services/common/folder_lock.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace camherd {
namespace {

using ::camherd::testing::IsOk;
using ::camherd::testing::StatusIs;
using ::camherd::testing::TempDir;
using ::testing::HasSubstr;

TEST(FolderLockTest, KeepsASecondOneOutUntilTheFirstIsGone) {
  TempDir dir;
  auto first = FolderLock::Take(dir / "lock");
  ASSERT_THAT(first, IsOk());
  EXPECT_THAT(FolderLock::Take(dir / "lock"),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("another process uses this data folder")));
  first->reset();
  EXPECT_THAT(FolderLock::Take(dir / "lock"), IsOk());
}

}  // namespace
}  // namespace camherd
