// SPDX-License-Identifier: Apache-2.0
#include "services/common/service_main.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "services/common/file.h"
#include "services/common/log.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace camherd {
namespace {

using ::camherd::testing::TempDir;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::Pair;
using ::testing::StartsWith;

// Runs StartServiceMain as `camherd-capture ARGUMENTS...` would, and puts the
// signals back afterwards.
class ServiceMainTest : public ::testing::Test {
 protected:
  void SetUp() override {
    pthread_sigmask(SIG_SETMASK, nullptr, &mask_);
    unsetenv("CAMHERD_DATA_DIR");
  }
  void TearDown() override {
    pthread_sigmask(SIG_SETMASK, &mask_, nullptr);
    signal(SIGPIPE, SIG_DFL);
    unsetenv("CAMHERD_DATA_DIR");
    unsetenv("CAMHERD_COMMON_LOG_LEVEL");
    InitLog("test");
  }

  ServiceArgs Start(std::vector<std::string> arguments,
                    const std::vector<ServiceOption>& own = {}) {
    arguments.insert(arguments.begin(), "camherd-capture");
    std::vector<char*> argv;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    ::testing::internal::CaptureStdout();
    ::testing::internal::CaptureStderr();
    ServiceArgs args =
        StartServiceMain(static_cast<int>(argv.size()) - 1, argv.data(),
                         "capture", "Samples cameras.", own);
    out_ = ::testing::internal::GetCapturedStdout();
    err_ = ::testing::internal::GetCapturedStderr();
    return args;
  }

  std::string WriteConfig(absl::string_view yaml) {
    CAMHERD_EXPECT_OK(
        WriteFileAtomically(dir_ / "camherd.yaml", yaml, Sync::kNone));
    return dir_ / "camherd.yaml";
  }

  const TempDir dir_;
  std::string out_;
  std::string err_;

 private:
  sigset_t mask_;
};

std::string WorkingFolder() {
  char* cwd = getcwd(nullptr, 0);
  const std::string result = cwd;
  std::free(cwd);
  return result;
}

TEST_F(ServiceMainTest, VersionPrintsNameAndVersion) {
  const ServiceArgs args = Start({"--version"});
  EXPECT_TRUE(args.done);
  EXPECT_EQ(args.exit_code, 0);
  EXPECT_EQ(out_, "camherd-capture " CAMHERD_VERSION "\n");
}

TEST_F(ServiceMainTest, HelpNamesEveryOption) {
  const ServiceArgs args = Start({"--help"});
  EXPECT_TRUE(args.done);
  EXPECT_EQ(args.exit_code, 0);
  EXPECT_THAT(out_,
              AllOf(HasSubstr("Usage: camherd-capture"),
                    HasSubstr("Samples cameras."), HasSubstr("--config FILE"),
                    HasSubstr("--data-dir DIR"), HasSubstr("--check-config"),
                    HasSubstr("--help"), HasSubstr("--version")));
}

TEST_F(ServiceMainTest, AWrongCommandLineIsNamedAndExitsWith2) {
  const auto wrong = [this](const std::vector<std::string>& arguments) {
    const ServiceArgs args = Start(arguments);
    EXPECT_TRUE(args.done);
    EXPECT_EQ(args.exit_code, 2);
    EXPECT_THAT(out_, IsEmpty());
    return err_;
  };
  EXPECT_EQ(wrong({"--colour"}),
            "camherd-capture: unknown option --colour; see --help\n");
  EXPECT_EQ(wrong({"--check-config", "-x"}),
            "camherd-capture: unknown option -x; see --help\n");
  EXPECT_EQ(wrong({"--config"}),
            "camherd-capture: --config needs a value; see --help\n");
  EXPECT_EQ(wrong({"now"}),
            "camherd-capture: unexpected argument now; see --help\n");
  EXPECT_THAT(wrong({"--config="}), HasSubstr("must name a file"));
  EXPECT_THAT(wrong({"--data-dir="}), HasSubstr("must name a folder"));
  EXPECT_THAT(wrong({"--config", dir_ / "no.yaml"}), HasSubstr("no.yaml"));
}

TEST_F(ServiceMainTest, AServiceHasOptionsOfItsOwn) {
  const std::vector<ServiceOption> own = {
      {.name = "probe", .value = "-", .help = "try a camera,\nstep by step"},
      {.name = "quick", .help = "make haste"}};
  EXPECT_THAT(Start({}, own).own, IsEmpty());
  const ServiceArgs args = Start({"--probe", "-", "--quick"}, own);
  EXPECT_FALSE(args.done);
  EXPECT_THAT(args.own, ElementsAre(Pair("probe", "-"), Pair("quick", "")));
  EXPECT_THAT(err_, HasSubstr("msg=starting"));
  Start({"--help"}, own);
  EXPECT_THAT(out_, HasSubstr("  --probe -        try a camera,\n"
                              "                   step by step\n"
                              "  --quick          make haste\n"
                              "  --help           print"));
  EXPECT_EQ(Start({"--probe"}, own).exit_code, 2);
  EXPECT_THAT(err_, HasSubstr("--probe needs a value"));
  EXPECT_EQ(Start({"--probe", "-"}).exit_code, 2);
  EXPECT_THAT(err_, HasSubstr("unknown option --probe"));
}

TEST_F(ServiceMainTest, ACommandLogsNoStartAndLeavesTheSignalsAlone) {
  const ServiceArgs args = Start(
      {"--probe", "-"}, {{.name = "probe", .value = "-", .command = true}});
  ASSERT_FALSE(args.done);
  EXPECT_THAT(err_, IsEmpty());
  EXPECT_THAT(out_, IsEmpty());
  sigset_t blocked;
  pthread_sigmask(SIG_SETMASK, nullptr, &blocked);
  EXPECT_EQ(sigismember(&blocked, SIGTERM), 0);
  struct sigaction pipe_action = {};
  sigaction(SIGPIPE, nullptr, &pipe_action);
  EXPECT_EQ(pipe_action.sa_handler, SIG_DFL);
}

TEST_F(ServiceMainTest, ABadCommonSectionExitsWith2AndItsLine) {
  const ServiceArgs args =
      Start({"--config", WriteConfig("common:\n  log_level: loud\n")});
  EXPECT_TRUE(args.done);
  EXPECT_EQ(args.exit_code, 2);
  EXPECT_THAT(err_, AllOf(HasSubstr("camherd.yaml:2: common.log_level must be"),
                          HasSubstr("got \"loud\"")));
}

TEST_F(ServiceMainTest, LoadsTheConfigurationAndLogsWhereItIs) {
  ServiceArgs args = Start({"--config", WriteConfig("capture:\n  count: 7\n")});
  ASSERT_FALSE(args.done);
  EXPECT_FALSE(args.check_config);
  ConfigSection section = args.config.Section("capture");
  EXPECT_EQ(section.Int("count", 1, 0, 9), 7);
  EXPECT_THAT(err_, AllOf(HasSubstr("INFO capture msg=starting version="),
                          HasSubstr("config=" + (dir_ / "camherd.yaml"))));
}

TEST_F(ServiceMainTest, SetsUpTheLogAsConfigured) {
  Start({"--config", WriteConfig("common:\n  log_format: json\n")});
  EXPECT_THAT(err_, StartsWith("{\"time\":"));
  setenv("CAMHERD_COMMON_LOG_LEVEL", "error", 1);
  Start({});
  ::testing::internal::CaptureStderr();
  LogWarning("quiet");
  EXPECT_THAT(::testing::internal::GetCapturedStderr(), IsEmpty());
}

TEST_F(ServiceMainTest, CheckConfigSaysSoAndLogsNothing) {
  const ServiceArgs args = Start({"--check-config"});
  EXPECT_FALSE(args.done);
  EXPECT_TRUE(args.check_config);
  EXPECT_THAT(err_, IsEmpty());
}

TEST_F(ServiceMainTest, TheDataFolderComesFromOptionEnvironmentFileOrDefault) {
  const std::string config = WriteConfig("common:\n  data_dir: from/file\n");
  EXPECT_EQ(Start({}).data_dir, WorkingFolder() + "/var");
  EXPECT_EQ(Start({"--config", config}).data_dir,
            WorkingFolder() + "/from/file");
  setenv("CAMHERD_DATA_DIR", "/from/environment", 1);
  EXPECT_EQ(Start({"--config", config}).data_dir, "/from/environment");
  EXPECT_EQ(Start({"--config", config, "--data-dir", "/from/option"}).data_dir,
            "/from/option");
  EXPECT_EQ(Start({"--data-dir", "."}).data_dir, WorkingFolder());
}

TEST_F(ServiceMainTest, StopSignalsWaitForTheOneWhoTakesThem) {
  ASSERT_FALSE(Start({}).done);
  ASSERT_EQ(raise(SIGTERM), 0);
  ::testing::internal::CaptureStderr();
  ShutdownSignal().Wait();
  EXPECT_THAT(::testing::internal::GetCapturedStderr(),
              HasSubstr("INFO capture msg=stopping signal=SIGTERM"));
}

TEST_F(ServiceMainTest, AWriteToAClosedPipeDoesNotKillTheService) {
  ASSERT_FALSE(Start({}).done);
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  close(ends[0]);
  EXPECT_EQ(write(ends[1], "x", 1), -1);
  close(ends[1]);
}

TEST_F(ServiceMainTest, SecretsOnTheConfigurationPathDoNotReachTheLog) {
  const ServiceArgs args = Start({"--config", "rtsp://u:canary@h/x"});
  EXPECT_EQ(args.exit_code, 2);
  EXPECT_THAT(err_, Not(HasSubstr("canary")));
}

TEST_F(ServiceMainTest, AnArgumentWithoutOptionStandsWhereItLikes) {
  const std::vector<ServiceOption> own = {
      {.name = "", .value = "FILE", .help = "a file"},
      {.name = "form", .value = "FORM", .help = "its form"}};
  for (const std::vector<std::string>& arguments :
       {std::vector<std::string>{"-", "--form", "x"}, {"--form", "x", "-"}}) {
    ServiceArgs args = Start(arguments, own);
    EXPECT_FALSE(args.done) << err_;
    EXPECT_THAT(args.own, ElementsAre(Pair("", "-"), Pair("form", "x")));
  }
  EXPECT_EQ(Start({"--form", "x"}, own).exit_code, 2);
  EXPECT_THAT(err_, HasSubstr("FILE is missing"));
  EXPECT_EQ(Start({"a", "b"}, own).exit_code, 2);
  EXPECT_THAT(err_, HasSubstr("unexpected argument b"));
  Start({"--help"}, own);
  EXPECT_THAT(out_, AllOf(HasSubstr("[options] FILE\n"),
                          HasSubstr("  FILE             a file\n")));
}

}  // namespace
}  // namespace camherd
