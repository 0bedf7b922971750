// SPDX-License-Identifier: Apache-2.0
#include "services/cli/secret_input.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdlib>

#include "services/cli/exit_code.h"
#include "services/common/file.h"
#include "tests/support/temp_dir.h"

namespace camherd::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::string Said(const absl::StatusOr<std::string>& value) {
  EXPECT_EQ(ExitCodeOf(value.status()), kWrongUsage);
  return std::string(value.status().message());
}

class SecretInputTest : public ::testing::Test {
 protected:
  std::string Write(const std::string& text, unsigned mode) {
    const std::string path = dir_.path() + "/secret";
    EXPECT_TRUE(WriteFileAtomically(path, text, Sync::kNone, mode).ok());
    chmod(path.c_str(), mode);
    return path;
  }

  testing::TempDir dir_;
};

TEST_F(SecretInputTest, APasswordAsAnArgumentIsRefusedAndNotRepeated) {
  for (const char* url :
       {"rtsp://admin:s3cret@127.0.0.1/x", "rtsp://127.0.0.1/x?token=s3cret"}) {
    EXPECT_THAT(Said(ReadUrl("URL", {.value = url})),
                AllOf(HasSubstr("--url-file"), HasSubstr("everyone"),
                      Not(HasSubstr("s3cret"))));
  }
  EXPECT_EQ(ReadUrl("URL", {.value = "rtsp://127.0.0.1:8554/demo"}).value(),
            "rtsp://127.0.0.1:8554/demo");
}

TEST_F(SecretInputTest, TheFirstLineOfAFileOrVariableIsTaken) {
  const std::string path = Write("rtsp://a:b@127.0.0.1/x\r\nmore\n", 0600);
  EXPECT_EQ(ReadUrl("URL", {.file = path}).value(), "rtsp://a:b@127.0.0.1/x");
  setenv("CLI_TEST_SECRET", "word\n", 1);
  EXPECT_EQ(ReadValue("password", {.env = "CLI_TEST_SECRET"}).value(), "word");
  EXPECT_EQ(ReadValue("password", {}).value(), "");
}

TEST_F(SecretInputTest, AFileOfASecretIsForItsOwner) {
  EXPECT_THAT(Said(ReadValue("password", {.file = Write("word\n", 0644)})),
              HasSubstr("chmod 600"));
  EXPECT_TRUE(
      ReadUrl("URL", {.file = Write("rtsp://127.0.0.1/x\n", 0644)}).ok());
}

TEST_F(SecretInputTest, WhatIsMissingEmptyOrGivenTwiceIsNamed) {
  EXPECT_THAT(Said(ReadValue("user", {.file = dir_.path() + "/none"})),
              HasSubstr("the user: "));
  EXPECT_THAT(Said(ReadValue("user", {.file = Write("\n", 0600)})),
              HasSubstr("the user must not be empty"));
  EXPECT_THAT(Said(ReadValue("user", {.env = "CLI_TEST_NONE"})),
              HasSubstr("$CLI_TEST_NONE"));
  EXPECT_THAT(Said(ReadValue("user", {.value = "a", .env = "B"})),
              HasSubstr("give the user once"));
  EXPECT_THAT(Said(ReadUrl("URL", {.value = "http://127.0.0.1/"})),
              HasSubstr("rtsp_url must begin with rtsp://"));
}

}  // namespace
}  // namespace camherd::cli
