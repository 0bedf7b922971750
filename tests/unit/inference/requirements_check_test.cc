// SPDX-License-Identifier: Apache-2.0
#include "services/inference/requirements_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "tests/support/status_matchers.h"
#include "tests/unit/inference/fakes.h"

namespace camherd::inference {
namespace {

using ::camherd::inference::testing::TempDir;
using ::camherd::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

absl::StatusOr<std::string> Check(const std::string& text) {
  const TempDir dir;
  return CheckRequirements(dir.Write("requirements_m.txt", text));
}

TEST(RequirementsCheckTest, TakesPinnedPackagesMarkersExtrasAndHashes) {
  CAMHERD_EXPECT_OK(Check(
      "# a comment\n\nnumpy==2.2.6\n  opencv-python[x]>=4 ; python_version < "
      "\"3.13\"  # why\n--require-hashes\ntorch==2.1 \\\n    "
      "--hash=sha256:abc \\\n    --hash=sha256:def\n./wheels/a-1-py3-none-any."
      "whl\nlocal @ wheels/b.whl\n"));
  CAMHERD_EXPECT_OK(Check(""));
}

class RefusedTest : public ::testing::TestWithParam<const char*> {};

TEST_P(RefusedTest, IsRefusedWithFileLineAndText) {
  EXPECT_THAT(Check(std::string("numpy==2.2.6\n") + GetParam() + "\n"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("requirements_m.txt:2: ")));
}

INSTANTIATE_TEST_SUITE_P(
    All, RefusedTest,
    ::testing::Values("git+https://example.org/x.git",
                      "x @ git+ssh://example.org/x", "x @ GIT+file:x", "-e .",
                      "--editable ./x", "-i https://example.org/simple",
                      "--index-url https://example.org/simple",
                      "--extra-index-url=https://example.org", "--find-links x",
                      "-f x", "--trusted-host example.org", "--pre",
                      "-r https://example.org/r.txt", "-r /etc/passwd",
                      "--requirement=../other.txt", "-c ~/c.txt",
                      "https://example.org/x.whl", "x @ https://example.org/x",
                      "file:///x.whl", "/opt/x.whl", "../x.whl", "x @ /opt/x",
                      "~/x.whl", "x==${VERSION}", "x==1 --global-option=--evil",
                      "x==1 --config-settings=a=b"));

TEST(RequirementsCheckTest, ReadsIncludedFilesAndJudgesThemToo) {
  const TempDir dir;
  const std::string path = dir.Write("r.txt", "-r more/base.txt\n");
  dir.Write("more/base.txt", "numpy==2.2.6\n-c limits.txt\n");
  dir.Write("more/limits.txt", "numpy<3\n");
  const auto hash = CheckRequirements(path);
  CAMHERD_ASSERT_OK(hash);
  dir.Write("more/limits.txt", "numpy<4\n");
  EXPECT_NE(CheckRequirements(path).value(), *hash);
  dir.Write("more/limits.txt", "-e .\n");
  EXPECT_THAT(
      CheckRequirements(path),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("limits.txt:1")));
}

TEST(RequirementsCheckTest, EndsWhenFilesIncludeEachOther) {
  const TempDir dir;
  const std::string path = dir.Write("r.txt", "-r r.txt\n");
  EXPECT_THAT(CheckRequirements(path),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST(RequirementsCheckTest, SaysThatAFileIsMissing) {
  const TempDir dir;
  EXPECT_THAT(CheckRequirements(dir.path() + "/none.txt"),
              StatusIs(absl::StatusCode::kNotFound));
}

}  // namespace
}  // namespace camherd::inference
