// SPDX-License-Identifier: Apache-2.0
#include "services/inference/onnx_export.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "services/common/file.h"
#include "tests/support/status_matchers.h"
#include "tests/unit/inference/fakes.h"

namespace camherd::inference {
namespace {

using ::camherd::inference::testing::TempDir;
using ::camherd::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

// With scripts that need no ultralytics.
class OnnxExportTest : public ::testing::Test {
 protected:
  absl::StatusOr<std::string> Export(const std::string& script) {
    return ExportOnnx(
        {.checkpoint = checkpoint_,
         .python = CAMHERD_TEST_PYTHON,
         .script = dir_.Write("export.py", script),
         .dir = dir_ / "exported"},
        [](const PrepareProgress&) {}, stop_);
  }

  TempDir dir_;
  StopSignal stop_;
  const std::string checkpoint_ = dir_.Write("net.pt", "checkpoint");
};

TEST_F(OnnxExportTest, ExportsACheckpointOnceAndAChangedOneAnew) {
  const std::string script =
      "import sys; open(sys.argv[2], 'w').write('onnx of ' + "
      "open(sys.argv[1]).read())";
  const auto first = Export(script);
  CAMHERD_ASSERT_OK(first);
  EXPECT_EQ(ReadFile(*first, 100).value(), "onnx of checkpoint");
  EXPECT_EQ(Export("import sys; sys.exit(1)").value(), *first);
  dir_.Write("net.pt", "another");
  const auto second = Export(script);
  CAMHERD_ASSERT_OK(second);
  EXPECT_EQ(ReadFile(*second, 100).value(), "onnx of another");
  EXPECT_FALSE(std::filesystem::exists(*first));
}

TEST_F(OnnxExportTest, AFailedExportSaysInOneLineWhy) {
  for (const char* script : {"for i in range(100): print('line', i)\n"
                             "raise EOFError('Ran out of input')\n",
                             "import sys; sys.exit('Ran out of input')"}) {
    EXPECT_THAT(
        Export(script),
        StatusIs(absl::StatusCode::kInternal,
                 AllOf(HasSubstr("net.pt cannot be exported to ONNX: "),
                       HasSubstr("exit code 1"), HasSubstr("Ran out of input"),
                       Not(HasSubstr("\n")))));
  }
}

TEST_F(OnnxExportTest, StopEndsAnExport) {
  stop_.Set();
  EXPECT_THAT(Export("import time; time.sleep(1000)"),
              StatusIs(absl::StatusCode::kCancelled));
}

}  // namespace
}  // namespace camherd::inference
