// SPDX-License-Identifier: Apache-2.0
#include "services/inference/model_registry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <string>

#include "services/inference/status_hint.h"
#include "tests/support/fake_clock.h"
#include "tests/support/status_matchers.h"
#include "tests/unit/inference/fakes.h"

namespace camherd::inference {
namespace {

using ::camherd::inference::testing::FakeBehaviour;
using ::camherd::inference::testing::MakeFakeFactory;
using ::camherd::inference::testing::Manifest;
using ::camherd::inference::testing::TempDir;
using ::camherd::inference::testing::WaitUntil;
using ::camherd::testing::FakeClock;
using ::camherd::testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using namespace camherd::v1;

class ModelRegistryTest : public ::testing::Test {
 protected:
  ModelRegistryTest() {
    dir_.Write("dogs/model.yaml", Manifest("dogs"));
    dir_.Write("cats/model.yaml", Manifest("cats"));
  }

  ModelRegistry& registry() {
    if (registry_ == nullptr) {
      ModelRegistry::Options options;
      options.models_dir = dir_.path();
      options.cache_dir = dir_.path() + "/cache";
      options.failed_retry = absl::Seconds(60);
      registry_ = std::make_unique<ModelRegistry>(
          options, MakeFakeFactory(behaviour_), clock_, nullptr);
    }
    return *registry_;
  }

  ModelState StateOf(const std::string& name) {
    return registry().Get(name)->state();
  }
  bool WaitFor(const std::string& name, ModelState state) {
    return WaitUntil([&] { return StateOf(name) == state; });
  }
  int made() {
    absl::MutexLock lock(&behaviour_.mu);
    return behaviour_.made;
  }

  TempDir dir_;
  FakeClock clock_;
  FakeBehaviour behaviour_;
  // Held back until notified, where a test wants preparing to take long.
  absl::Notification go_;
  std::unique_ptr<ModelRegistry> registry_;
};

TEST_F(ModelRegistryTest, PreparesAModelAndSaysEachStep) {
  behaviour_.make = [](const EngineRequest& request,
                       const PrepareProgressFn& progress, const StopSignal&) {
    EXPECT_EQ(request.engine, "hog");
    progress({MODEL_STATE_INSTALLING, 3, 10, "installing 3 of 10", {"a", "b"}});
    return absl::OkStatus();
  };
  std::atomic<int> changes = 0;
  const int64_t watch = registry().Watch("dogs", [&] { ++changes; });
  EXPECT_EQ(StateOf("dogs"), MODEL_STATE_ABSENT);
  CAMHERD_ASSERT_OK(registry().Prepare("dogs", false));
  ASSERT_TRUE(WaitFor("dogs", MODEL_STATE_READY));
  const Model model = *registry().Get("dogs");
  EXPECT_EQ(model.engine(), "fake");
  EXPECT_EQ(model.progress_done(), 3);
  EXPECT_THAT(model.log_tail(), ElementsAre("a", "b"));
  EXPECT_TRUE(WaitUntil([&] { return changes >= 3; }));
  registry().Unwatch(watch);
  EXPECT_EQ(StateOf("cats"), MODEL_STATE_ABSENT);
}

TEST_F(ModelRegistryTest, AnswersAtOnceAndAllShareOnePreparation) {
  behaviour_.make = [this](const EngineRequest&, const PrepareProgressFn&,
                           const StopSignal&) {
    go_.WaitForNotification();
    return absl::OkStatus();
  };
  for (int i = 0; i < 5; ++i) {
    const auto model = registry().Prepare("dogs", false);
    CAMHERD_ASSERT_OK(model);
    EXPECT_EQ(model->state(), MODEL_STATE_LOADING);
  }
  go_.Notify();
  ASSERT_TRUE(WaitFor("dogs", MODEL_STATE_READY));
  CAMHERD_ASSERT_OK(registry().Prepare("dogs", false));
  EXPECT_EQ(made(), 1);
}

TEST_F(ModelRegistryTest, NoModelWaitsForThePreparationOfAnother) {
  behaviour_.make = [this](const EngineRequest& request,
                           const PrepareProgressFn&, const StopSignal&) {
    if (request.manifest.name == "dogs") go_.WaitForNotification();
    return absl::OkStatus();
  };
  CAMHERD_ASSERT_OK(registry().Prepare("dogs", false));
  CAMHERD_ASSERT_OK(registry().Prepare("cats", false));
  EXPECT_TRUE(WaitFor("cats", MODEL_STATE_READY));
  EXPECT_EQ(StateOf("dogs"), MODEL_STATE_LOADING);
  go_.Notify();
  EXPECT_TRUE(WaitFor("dogs", MODEL_STATE_READY));
}

TEST_F(ModelRegistryTest, AnUnknownModelIsNotFoundAndTheKnownAreNamed) {
  EXPECT_THAT(registry().Prepare("wolves", false),
              StatusIs(absl::StatusCode::kNotFound,
                       "model_name must be one of [cats, dogs], got "
                       "\"wolves\""));
  EXPECT_THAT(registry().Prepare("../dogs", false),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(ModelRegistryTest, AFolderThatComesLaterIsFoundWithoutARestart) {
  EXPECT_THAT(registry().Get("wolves"), StatusIs(absl::StatusCode::kNotFound));
  dir_.Write("wolves/model.yaml", Manifest("wolves"));
  CAMHERD_ASSERT_OK(registry().Prepare("wolves", false));
  EXPECT_TRUE(WaitFor("wolves", MODEL_STATE_READY));
}

TEST_F(ModelRegistryTest, AWrongManifestMakesOnlyItsModelFailed) {
  dir_.Write("wolves/model.yaml", "engines: [hog]\nclases: [wolf]\n");
  EXPECT_EQ(StateOf("wolves"), MODEL_STATE_FAILED);
  EXPECT_EQ(StateOf("dogs"), MODEL_STATE_ABSENT);
  EXPECT_THAT(registry().Prepare("wolves", false),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("wolves/model.yaml:")));
  dir_.Write("wolves/model.yaml", Manifest("wolves"));
  CAMHERD_EXPECT_OK(registry().Prepare("wolves", false));
}

TEST_F(ModelRegistryTest, MissingWeightsAreSaidAtOnce) {
  dir_.Write("wolves/model.yaml",
             "engines: [hog]\nclasses: [wolf]\nsection: wolves\nweights:\n"
             "  - file: wolf.pt\n    url: https://example.org/wolf.pt\n");
  EXPECT_THAT(registry().Prepare("wolves", false),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr("Put wolf.pt (from"),
                             HasSubstr("https://example.org/wolf.pt"))));
  EXPECT_EQ(StateOf("wolves"), MODEL_STATE_FAILED);
  EXPECT_THAT(registry().Get("wolves")->hint(), HasSubstr("Put wolf.pt"));
  EXPECT_EQ(made(), 0);
  dir_.Write("wolves/wolf.pt", "weights");
  CAMHERD_ASSERT_OK(registry().Prepare("wolves", false));
  ASSERT_TRUE(WaitFor("wolves", MODEL_STATE_READY));
  EXPECT_EQ(registry().Get("wolves")->weights_file(), "wolf.pt");
  EXPECT_EQ(registry().Get("wolves")->weights_sha256(), Sha256Hex("weights"));
}

TEST_F(ModelRegistryTest, AFailedModelIsTriedAgainWhenAskedOrAfterThePause) {
  behaviour_.make = [](const EngineRequest&, const PrepareProgressFn&,
                       const StopSignal&) {
    return WithHint(absl::InternalError("pip broke"), "mend pip");
  };
  CAMHERD_ASSERT_OK(registry().Prepare("dogs", false));
  ASSERT_TRUE(WaitFor("dogs", MODEL_STATE_FAILED));
  EXPECT_EQ(registry().Get("dogs")->reason(), "pip broke");
  EXPECT_EQ(registry().Get("dogs")->hint(), "mend pip");

  EXPECT_EQ(registry().Acquire("dogs").state, MODEL_STATE_FAILED);
  EXPECT_EQ(made(), 1);
  clock_.Advance(absl::Seconds(61));
  const ModelRegistry::Use use = registry().Acquire("dogs");
  EXPECT_NE(use.state, MODEL_STATE_FAILED);
  EXPECT_EQ(use.failure, "pip broke");
  EXPECT_TRUE(WaitUntil([&] { return made() == 2; }));
  ASSERT_TRUE(WaitFor("dogs", MODEL_STATE_FAILED));
  CAMHERD_ASSERT_OK(registry().Prepare("dogs", false));
  EXPECT_TRUE(WaitUntil([&] { return made() == 3; }));
}

TEST_F(ModelRegistryTest, ABrokenEngineMakesTheModelFailed) {
  CAMHERD_ASSERT_OK(registry().Prepare("dogs", false));
  ASSERT_TRUE(WaitFor("dogs", MODEL_STATE_READY));
  const ModelRegistry::Use use = registry().Acquire("dogs");
  ASSERT_NE(use.engine, nullptr);
  registry().ReportBroken("dogs", use.engine.get(),
                          absl::FailedPreconditionError("worker gone"));
  EXPECT_EQ(StateOf("dogs"), MODEL_STATE_FAILED);
  EXPECT_EQ(registry().Acquire("dogs").engine, nullptr);
}

TEST_F(ModelRegistryTest, UnloadFreesTheEngineAndABatchBringsItBack) {
  CAMHERD_ASSERT_OK(registry().Prepare("dogs", false));
  ASSERT_TRUE(WaitFor("dogs", MODEL_STATE_READY));
  const auto model = registry().Unload("dogs");
  CAMHERD_ASSERT_OK(model);
  EXPECT_EQ(model->state(), MODEL_STATE_ABSENT);
  registry().Acquire("dogs");
  EXPECT_TRUE(WaitFor("dogs", MODEL_STATE_READY));
}

TEST_F(ModelRegistryTest, RebuildMakesAReadyModelAnew) {
  CAMHERD_ASSERT_OK(registry().Prepare("dogs", false));
  ASSERT_TRUE(WaitFor("dogs", MODEL_STATE_READY));
  CAMHERD_ASSERT_OK(registry().Prepare("dogs", true));
  EXPECT_TRUE(WaitUntil([&] { return made() == 2; }));
  EXPECT_TRUE(WaitFor("dogs", MODEL_STATE_READY));
}

TEST_F(ModelRegistryTest, AnEngineThatIsNotBuiltIsSkipped) {
  dir_.Write("wolves/model.yaml",
             "engines: [openvino, hog]\nclasses: [wolf]\nsection: wolves\n");
  behaviour_.make = [](const EngineRequest& request, const PrepareProgressFn&,
                       const StopSignal&) {
    return request.engine == "hog" ? absl::OkStatus()
                                   : absl::UnimplementedError("not built");
  };
  CAMHERD_ASSERT_OK(registry().Prepare("wolves", false));
  EXPECT_TRUE(WaitFor("wolves", MODEL_STATE_READY));
}

TEST_F(ModelRegistryTest, StopEndsAPreparation) {
  behaviour_.make = [](const EngineRequest&, const PrepareProgressFn&,
                       const StopSignal& stop) {
    WaitUntil([&] { return stop.IsSet(); });
    return absl::CancelledError("stopped");
  };
  CAMHERD_ASSERT_OK(registry().Prepare("dogs", false));
  ASSERT_TRUE(WaitUntil([&] { return made() == 1; }));
  registry().Stop();
  EXPECT_THAT(registry().Prepare("cats", false),
              StatusIs(absl::StatusCode::kUnavailable));
}

}  // namespace
}  // namespace camherd::inference
