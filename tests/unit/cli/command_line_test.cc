// SPDX-License-Identifier: Apache-2.0
#include "services/cli/command_line.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/temp_dir.h"

namespace camherd::cli {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

struct Ended {
  int code = 0;
  std::string out = {};
  std::string err = {};
};

Ended Camherd(std::vector<std::string> arguments) {
  char* out = nullptr;
  char* err = nullptr;
  size_t out_size = 0;
  size_t err_size = 0;
  Console::Options files;
  files.out = open_memstream(&out, &out_size);
  files.err = open_memstream(&err, &err_size);
  Ended ended;
  ended.code = RunCommandLine(std::move(arguments), {}, files);
  std::fclose(files.out);
  std::fclose(files.err);
  ended.out = std::string(out, out_size);
  ended.err = std::string(err, err_size);
  std::free(out);
  std::free(err);
  return ended;
}

TEST(CommandLineTest, WrongUsageIsSaidWithTheUsage) {
  for (const auto& arguments :
       std::vector<std::vector<std::string>>{{},
                                             {"sturt"},
                                             {"start", "--intreval", "3"},
                                             {"ls", "--state", "sleeping"},
                                             {"records", "-n", "0"},
                                             {"models", "get"},
                                             {"apply"}}) {
    const Ended ended = Camherd(arguments);
    EXPECT_EQ(ended.code, 2);
    EXPECT_EQ(ended.out, "");
    EXPECT_THAT(ended.err,
                AllOf(StartsWith("camherd: "), HasSubstr("Usage: camherd")));
  }
  EXPECT_THAT(Camherd({"sturt"}).err,
              StartsWith("camherd: there is no command sturt\n"));
  EXPECT_THAT(Camherd({"ls", "--no"}).err, HasSubstr("Usage: camherd ls "));
}

TEST(CommandLineTest, APasswordInAnArgumentIsRefusedAndNotRepeated) {
  for (const char* command : {"start", "probe"}) {
    const Ended ended = Camherd({command, "rtsp://admin:s3cret@127.0.0.1/x"});
    EXPECT_EQ(ended.code, 2);
    EXPECT_THAT(ended.err,
                AllOf(HasSubstr("--url-file"), Not(HasSubstr("s3cret"))));
  }
  EXPECT_THAT(Camherd({"ls", "rtsp://admin:s3cret@127.0.0.1/x"}).err,
              Not(HasSubstr("s3cret")));
}

TEST(CommandLineTest, EveryCommandHasHelp) {
  for (const char* command :
       {"start", "stop", "ls", "watch", "records", "grid", "models", "cameras",
        "probe", "export", "apply", "config", "up", "completion", "version"}) {
    const Ended ended = Camherd({command, "--help"});
    EXPECT_EQ(ended.code, 0) << command;
    EXPECT_THAT(ended.out, HasSubstr("Usage: camherd "));
    EXPECT_THAT(Camherd({"--help"}).out, HasSubstr(command));
  }
}

TEST(CommandLineTest, TellsItsVersion) {
  EXPECT_EQ(Camherd({"version"}).out, "camherd " CAMHERD_VERSION "\n");
  EXPECT_EQ(Camherd({"--version"}).out, "camherd " CAMHERD_VERSION "\n");
}

TEST(CommandLineTest, AServiceThatIsNotThereIsNamed) {
  const testing::TempDir dir;
  const std::string nobody = "unix:" + dir.path() + "/none";
  const Ended ended = Camherd({"ls", "--capture", nobody});
  EXPECT_EQ(ended.code, 3);
  EXPECT_EQ(ended.out, "");
  EXPECT_THAT(ended.err, StartsWith("camherd: the capture service at " +
                                    nobody + " cannot be reached"));
}

TEST(CommandLineTest, AConfigurationThatIsNotThereIsWrongUsage) {
  const Ended ended = Camherd({"ls", "--config", "/none/camherd.yaml"});
  EXPECT_EQ(ended.code, 2);
  EXPECT_THAT(ended.err, HasSubstr("/none/camherd.yaml"));
}

TEST(CommandLineTest, AShellIsToldWhatMayFollow) {
  EXPECT_EQ(Camherd({"__complete", "--", "mod"}).out, "models\n");
  EXPECT_EQ(Camherd({"__complete", "--", "models", "p"}).out, "prepare\n");
  EXPECT_EQ(Camherd({"__complete", "--", "start", "--mode", "k"}).out,
            "keyframe\n");
  EXPECT_THAT(Camherd({"__complete", "--", "ls", "--"}).out,
              AllOf(HasSubstr("--state\n"), HasSubstr("--json\n")));
  EXPECT_EQ(Camherd({"__complete", "--", "export", "-o", ""}).out, "");
  EXPECT_THAT(Camherd({"completion", "bash"}).out,
              HasSubstr("complete -o default -F _camherd camherd"));
}

}  // namespace
}  // namespace camherd::cli
