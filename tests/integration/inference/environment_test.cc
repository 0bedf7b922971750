// SPDX-License-Identifier: Apache-2.0
#include "services/inference/environment.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "services/common/child_process.h"
#include "services/common/file.h"
#include "services/inference/status_hint.h"
#include "tests/support/status_matchers.h"
#include "tests/unit/inference/fakes.h"

namespace camherd::inference {
namespace {

namespace fs = std::filesystem;
using ::camherd::inference::testing::TempDir;
using ::camherd::inference::testing::WaitUntil;
using ::camherd::testing::StatusIs;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::StartsWith;

// Makes wheels/<name>-1-py3-none-any.whl in the folder given: a module `name`
// that says 1.
constexpr char kMakeWheel[] = R"(
import sys, zipfile
name = sys.argv[1]
info = f"{name}-1.dist-info/"
with zipfile.ZipFile(f"{name}-1-py3-none-any.whl", "w") as wheel:
    wheel.writestr(f"{name}.py", "value = 1\n")
    wheel.writestr(info + "METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
    wheel.writestr(info + "WHEEL", "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    wheel.writestr(info + "RECORD", f"{name}.py,,\n{info}METADATA,,\n{info}WHEEL,,\n{info}RECORD,,\n")
)";

// An interpreter that makes empty environments at once, for the tests where
// pip does not matter: `-m venv DIR` makes DIR/bin/python, which is itself.
constexpr char kFastPython[] = R"(#!/bin/sh
for last; do :; done
case "$*" in
  *"-m venv"*) mkdir -p "$last/bin" && cp "$0" "$last/bin/python"; echo made; exit $? ;;
  *"-m pip"*) echo run >> "@LOG@"; @PIP@ ;;
  *) echo "camherd-probe 3.11.2 pip $0" ;;
esac
)";

class EnvironmentTest : public ::testing::Test {
 protected:
  EnvironmentTest() {
    options_.venvs_dir = dir_.path() + "/venvs";
    options_.uv = "off";
    options_.timeout = absl::Seconds(60);
    request_.model = "dogs";
    request_.requirements =
        dir_.Write("dogs/requirements_dogs.txt", "# nothing\n");
  }

  void UseFastPython(const std::string& pip = "exit 0") {
    std::string text = kFastPython;
    text.replace(text.find("@LOG@"), 5, dir_.path() + "/pip_runs");
    text.replace(text.find("@PIP@"), 5, pip);
    options_.python = dir_.Write("fast/python3", text);
    fs::permissions(options_.python, fs::perms::owner_all);
  }
  int PipRuns() {
    const auto text = ReadFile(dir_.path() + "/pip_runs", 1 << 20);
    return text.ok() ? static_cast<int>(text->size() / 4) : 0;
  }

  absl::StatusOr<Environment::Ready> Ensure() {
    return Environment(options_).Ensure(
        request_,
        [this](const PrepareProgress& progress) {
          steps_.push_back(progress.text);
          tail_ = progress.log_tail;
        },
        stop_);
  }
  std::string Path(const std::string& name) {
    return options_.venvs_dir + "/" + name;
  }

  TempDir dir_;
  StopSignal stop_;
  Environment::Options options_;
  Environment::Request request_;
  std::vector<std::string> steps_;
  std::vector<std::string> tail_;
};

TEST_F(EnvironmentTest, BuildsByVenvAndPipAndInstallsWheelsOfTheFolder) {
  CAMHERD_ASSERT_OK(
      RunCommand({.argv = {CAMHERD_TEST_PYTHON, "-c", kMakeWheel, "tinywheel"},
                  .env = EnvironmentForChildren(),
                  .cwd = dir_.path() + "/dogs"},
                 absl::Seconds(20), stop_, [](const std::string&) {}));
  request_.requirements = dir_.Write("dogs/requirements_dogs.txt",
                                     "./tinywheel-1-py3-none-any.whl\n");
  const auto ready = Ensure();
  CAMHERD_ASSERT_OK(ready);
  EXPECT_TRUE(ready->built);
  std::string said;
  CAMHERD_ASSERT_OK(RunCommand(
      {.argv = {ready->python, "-c",
                "import tinywheel; print(tinywheel.value)"},
       .env = EnvironmentForChildren()},
      absl::Seconds(20), stop_, [&](const std::string& line) { said = line; }));
  EXPECT_EQ(said, "1");
  EXPECT_THAT(ReadFile(Path("dogs/.deps_installed"), 4096).value(),
              StartsWith("camherd-environment 1\nrequirements "));
  EXPECT_THAT(ReadFile(Path("dogs.log"), 1 << 20).value(),
              HasSubstr("tinywheel"));
  EXPECT_THAT(steps_, Contains(StartsWith("creating venv with Python 3.1")));
  EXPECT_THAT(steps_, Contains("installing 1 of 1"));
}

TEST_F(EnvironmentTest, IsBuiltOnce) {
  UseFastPython();
  EXPECT_TRUE(Ensure()->built);
  EXPECT_FALSE(Ensure()->built);
  EXPECT_EQ(PipRuns(), 1);
}

TEST_F(EnvironmentTest, IsBuiltAfterTheOneThatIsBeingBuilt) {
  UseFastPython();
  CAMHERD_ASSERT_OK(MakeDirs(options_.venvs_dir));
  const int other = open(Path(".build.lock").c_str(), O_RDWR | O_CREAT, 0644);
  ASSERT_EQ(flock(other, LOCK_EX), 0);
  absl::Notification waits;
  std::thread release([&] {
    waits.WaitForNotification();
    close(other);
  });
  const auto ready = Environment(options_).Ensure(
      request_,
      [&](const PrepareProgress& progress) {
        if (progress.text == "waiting for the build of another environment") {
          waits.Notify();
        }
      },
      stop_);
  release.join();
  EXPECT_TRUE(ready.ok() && ready->built);
}

TEST_F(EnvironmentTest, ChangedRequirementsRebuild) {
  UseFastPython();
  CAMHERD_ASSERT_OK(Ensure());
  dir_.Write("venvs/dogs/left_over", "x");
  dir_.Write("dogs/requirements_dogs.txt", "numpy==2.2.6\n");
  EXPECT_TRUE(Ensure()->built);
  EXPECT_FALSE(fs::exists(Path("dogs/left_over")));
}

TEST_F(EnvironmentTest, WithoutAMarkerItIsWipedAndRebuilt) {
  UseFastPython();
  CAMHERD_ASSERT_OK(Ensure());
  fs::remove(Path("dogs/.deps_installed"));
  dir_.Write("venvs/dogs/left_over", "x");
  EXPECT_TRUE(Ensure()->built);
  EXPECT_FALSE(fs::exists(Path("dogs/left_over")));
}

TEST_F(EnvironmentTest, AnEmptyMarkerIsHonouredAsDocumentADoes) {
  UseFastPython();
  CAMHERD_ASSERT_OK(Ensure());
  dir_.Write("venvs/dogs/.deps_installed", "");
  dir_.Write("dogs/requirements_dogs.txt", "numpy==2.2.6\n");
  EXPECT_FALSE(Ensure()->built);
}

TEST_F(EnvironmentTest, APythonThatNoLongerRunsRebuilds) {
  UseFastPython();
  CAMHERD_ASSERT_OK(Ensure());
  dir_.Write("venvs/dogs/bin/python", "#!/bin/false\n");
  EXPECT_TRUE(Ensure()->built);
}

TEST_F(EnvironmentTest, RebuildsWhenAsked) {
  UseFastPython();
  CAMHERD_ASSERT_OK(Ensure());
  request_.rebuild = true;
  EXPECT_TRUE(Ensure()->built);
}

TEST_F(EnvironmentTest, ARebuildThatFailsLeavesTheOldEnvironment) {
  UseFastPython();
  CAMHERD_ASSERT_OK(Ensure());
  dir_.Write("venvs/dogs/old", "x");
  request_.rebuild = true;
  UseFastPython("exit 1");
  EXPECT_THAT(Ensure(), StatusIs(absl::StatusCode::kInternal));
  EXPECT_TRUE(fs::exists(Path("dogs/old")));
  request_.rebuild = false;
  EXPECT_FALSE(Ensure()->built);

  UseFastPython();
  request_.rebuild = true;
  EXPECT_TRUE(Ensure()->built);
  EXPECT_FALSE(fs::exists(Path("dogs/old")));
  EXPECT_FALSE(fs::exists(Path("dogs.before")));
}

TEST_F(EnvironmentTest, ARebuildThatACrashCutShortIsUndone) {
  UseFastPython();
  CAMHERD_ASSERT_OK(Ensure());
  dir_.Write("venvs/dogs/old", "x");
  fs::rename(Path("dogs"), Path("dogs.before"));
  dir_.Write("venvs/dogs/half", "x");
  EXPECT_FALSE(Ensure()->built);
  EXPECT_TRUE(fs::exists(Path("dogs/old")));
  EXPECT_FALSE(fs::exists(Path("dogs/half")));
}

TEST_F(EnvironmentTest, AFailedInstallShowsTheLogsTailAndAHint) {
  UseFastPython(
      "echo 'ERROR: No matching distribution found for torch==9'; exit 1");
  const auto ready = Ensure();
  EXPECT_THAT(ready, StatusIs(absl::StatusCode::kInternal,
                              AllOf(HasSubstr("exit code 1"),
                                    HasSubstr("No matching distribution"))));
  EXPECT_THAT(HintOf(ready.status()), HasSubstr("Python 3.10-3.12"));
  EXPECT_FALSE(fs::exists(Path("dogs/.deps_installed")));
  EXPECT_THAT(tail_, Contains(HasSubstr("No matching distribution")));
}

TEST_F(EnvironmentTest, RefusedRequirementsBuildNothing) {
  dir_.Write("dogs/requirements_dogs.txt", "git+https://example.org/x\n");
  EXPECT_THAT(Ensure(), StatusIs(absl::StatusCode::kInvalidArgument,
                                 HasSubstr("requirements_dogs.txt:1")));
  EXPECT_FALSE(fs::exists(options_.venvs_dir));
}

TEST_F(EnvironmentTest, SaysWhenTheDiskHasNotTheRoom) {
  UseFastPython();
  request_.disk_bytes = int64_t{1} << 60;
  const auto ready = Ensure();
  EXPECT_THAT(ready, StatusIs(absl::StatusCode::kFailedPrecondition,
                              HasSubstr("GiB are free")));
  EXPECT_NE(HintOf(ready.status()), "");
}

TEST_F(EnvironmentTest, SaysWhenTheConfiguredPythonDoesNotRun) {
  options_.python = dir_.path() + "/no/python";
  const auto ready = Ensure();
  EXPECT_THAT(ready, StatusIs(absl::StatusCode::kFailedPrecondition,
                              HasSubstr("inference.python")));
  EXPECT_THAT(HintOf(ready.status()), HasSubstr("3.10 to 3.12"));
}

TEST_F(EnvironmentTest, AShimWithoutAPythonBehindItIsPassedOver) {
  UseFastPython();
  const std::string shim =
      dir_.Write("shims/python3.12", "#!/bin/sh\necho no such; exit 127\n");
  fs::permissions(shim, fs::perms::owner_all);
  fs::copy(options_.python, dir_.path() + "/fast/python3.11");
  const std::string old = std::getenv("PATH");
  setenv(
      "PATH",
      absl::StrCat(dir_.path(), "/shims:", dir_.path(), "/fast:/bin").c_str(),
      1);
  options_.python.clear();
  const auto ready = Ensure();
  setenv("PATH", old.c_str(), 1);
  CAMHERD_ASSERT_OK(ready);
  EXPECT_THAT(ReadFile(Path("dogs/.deps_installed"), 4096).value(),
              HasSubstr("/fast/python3.11"));
}

TEST_F(EnvironmentTest, TwoAtOnceBuildOnce) {
  UseFastPython();
  std::atomic<int> built = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      const auto ready = Environment(options_).Ensure(request_, {}, stop_);
      CAMHERD_EXPECT_OK(ready);
      built += ready.ok() && ready->built ? 1 : 0;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(built, 1);
}

TEST_F(EnvironmentTest, StopEndsAnInstallAndLeavesNoMarker) {
  UseFastPython("sleep 1000");
  std::thread stopper([&] {
    WaitUntil([&] { return PipRuns() == 1; });
    stop_.Set();
  });
  EXPECT_THAT(Ensure(), StatusIs(absl::StatusCode::kCancelled));
  stopper.join();
  EXPECT_FALSE(fs::exists(Path("dogs/.deps_installed")));
}

TEST_F(EnvironmentTest, AnInstallThatTakesTooLongIsEnded) {
  UseFastPython("sleep 1000");
  options_.timeout = absl::Milliseconds(200);
  EXPECT_THAT(Ensure(), StatusIs(absl::StatusCode::kInternal,
                                 HasSubstr("did not end within")));
}

TEST_F(EnvironmentTest, SecretsInWhatTheInstallerPrintsAreMasked) {
  UseFastPython(
      "echo Looking in https://me:hunter2@example.org/simple; exit 1");
  const auto ready = Ensure();
  EXPECT_THAT(std::string(ready.status().message()),
              ::testing::Not(HasSubstr("hunter2")));
  EXPECT_THAT(ReadFile(Path("dogs.log"), 1 << 20).value(),
              ::testing::Not(HasSubstr("hunter2")));
}

}  // namespace
}  // namespace camherd::inference
