// SPDX-License-Identifier: Apache-2.0
#include "services/inference/model_registry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <prometheus/registry.h>

#include <atomic>
#include <memory>
#include <string>

#include "services/inference/inference_metrics.h"
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
          options, MakeFakeFactory(behaviour_), clock_, &metrics_);
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
  int stopped() {
    absl::MutexLock lock(&behaviour_.mu);
    return behaviour_.stopped;
  }
  // camherd_inference_model_loads_total{model,result}.
  double Loads(const std::string& model, const std::string& result) {
    for (const auto& family : prometheus_.Collect()) {
      if (family.name != "camherd_inference_model_loads_total") continue;
      for (const auto& metric : family.metric) {
        if (metric.label[0].value == model && metric.label[1].value == result) {
          return metric.counter.value;
        }
      }
    }
    return 0;
  }

  TempDir dir_;
  FakeClock clock_;
  prometheus::Registry prometheus_;
  InferenceMetrics metrics_{prometheus_};
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
  // The second try takes until its begin has been seen.
  behaviour_.make = [this, tries = std::make_shared<std::atomic<int>>(0)](
                        const EngineRequest&, const PrepareProgressFn&,
                        const StopSignal&) {
    if (++*tries == 2) go_.WaitForNotification();
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
  go_.Notify();
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

TEST_F(ModelRegistryTest, WhatIsLoadedServesUntilItsSuccessorDoes) {
  CAMHERD_ASSERT_OK(registry().Prepare("dogs", false));
  ASSERT_TRUE(WaitFor("dogs", MODEL_STATE_READY));
  const auto old = registry().Acquire("dogs").engine;
  behaviour_.make = [this](const EngineRequest&,
                           const PrepareProgressFn& progress,
                           const StopSignal&) {
    progress({MODEL_STATE_INSTALLING, 3, 10, "installing 3 of 10", {}});
    go_.WaitForNotification();
    return absl::OkStatus();
  };
  registry().AddLatency("dogs", absl::Seconds(3));
  const auto begun = registry().Prepare("dogs", true);
  CAMHERD_ASSERT_OK(begun);
  EXPECT_TRUE(begun->preparing());
  ASSERT_TRUE(
      WaitUntil([&] { return registry().Get("dogs")->progress_done() == 3; }));
  EXPECT_EQ(StateOf("dogs"), MODEL_STATE_READY);
  EXPECT_EQ(registry().Get("dogs")->reason(),
            "loading anew: installing 3 of 10");
  EXPECT_EQ(registry().Get("dogs")->engine(), "fake");
  EXPECT_EQ(registry().Acquire("dogs").engine, old);
  EXPECT_EQ(registry().Get("dogs")->latency_p50_seconds(), 3);
  go_.Notify();
  ASSERT_TRUE(WaitUntil([&] { return !registry().Get("dogs")->preparing(); }));
  EXPECT_EQ(StateOf("dogs"), MODEL_STATE_READY);
  EXPECT_EQ(registry().Get("dogs")->reason(), "");
  EXPECT_EQ(registry().Get("dogs")->latency_p50_seconds(), 0);
  EXPECT_NE(registry().Acquire("dogs").engine, old);
  // Batches that run on it end there.
  EXPECT_EQ(stopped(), 0);
  registry().Stop();
  EXPECT_EQ(stopped(), 2);
}

TEST_F(ModelRegistryTest, AFailedReloadLeavesWhatIsLoadedServing) {
  dir_.Write("wolves/model.yaml",
             "engines: [hog]\nclasses: [wolf]\nsection: wolves\nweights:\n"
             "  - file: wolf.pt\n    licence: MIT\n");
  dir_.Write("wolves/wolf.pt", "weights");
  CAMHERD_ASSERT_OK(registry().Prepare("wolves", false));
  ASSERT_TRUE(WaitFor("wolves", MODEL_STATE_READY));
  const auto engine = registry().Acquire("wolves").engine;
  dir_.Write("wolves/wolf.pt", "broken");
  behaviour_.make = [](const EngineRequest&, const PrepareProgressFn&,
                       const StopSignal&) {
    return WithHint(absl::InvalidArgumentError("wolf.pt cannot be loaded"),
                    "mend wolf.pt");
  };
  CAMHERD_ASSERT_OK(registry().Prepare("wolves", true));
  ASSERT_TRUE(
      WaitUntil([&] { return !registry().Get("wolves")->preparing(); }));
  const Model model = *registry().Get("wolves");
  EXPECT_EQ(model.state(), MODEL_STATE_READY);
  EXPECT_THAT(model.reason(), AllOf(HasSubstr("wolf.pt cannot be loaded"),
                                    HasSubstr("serves on")));
  EXPECT_EQ(model.hint(), "mend wolf.pt");
  EXPECT_EQ(model.engine(), "fake");
  EXPECT_EQ(model.weights_sha256(), Sha256Hex("weights"));
  EXPECT_EQ(registry().Acquire("wolves").engine, engine);
  EXPECT_EQ(registry().Acquire("wolves").weights_sha256, Sha256Hex("weights"));
  EXPECT_EQ(Loads("wolves", "ok"), 1);
  EXPECT_EQ(Loads("wolves", "failed"), 1);
  EXPECT_EQ(stopped(), 0);

  behaviour_.make = [](const EngineRequest&, const PrepareProgressFn&,
                       const StopSignal&) { return absl::OkStatus(); };
  CAMHERD_ASSERT_OK(registry().Prepare("wolves", true));
  ASSERT_TRUE(
      WaitUntil([&] { return !registry().Get("wolves")->preparing(); }));
  EXPECT_EQ(registry().Get("wolves")->reason(), "");
  EXPECT_EQ(registry().Get("wolves")->weights_sha256(), Sha256Hex("broken"));
  EXPECT_EQ(Loads("wolves", "ok"), 2);
}

TEST_F(ModelRegistryTest, AReloadThatCannotBeginLeavesWhatIsLoadedServing) {
  CAMHERD_ASSERT_OK(registry().Prepare("dogs", false));
  ASSERT_TRUE(WaitFor("dogs", MODEL_STATE_READY));
  dir_.Write("dogs/model.yaml", "engines: [hog]\nclases: [dog]\n");
  EXPECT_THAT(registry().Prepare("dogs", true),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("dogs/model.yaml:")));
  EXPECT_EQ(StateOf("dogs"), MODEL_STATE_READY);
  EXPECT_THAT(registry().Get("dogs")->reason(), HasSubstr("model.yaml"));
  EXPECT_NE(registry().Acquire("dogs").engine, nullptr);
  ASSERT_NE(registry().Acquire("dogs").manifest, nullptr);
  dir_.Write("dogs/model.yaml", Manifest("other"));
  CAMHERD_ASSERT_OK(registry().Prepare("dogs", true));
  ASSERT_TRUE(WaitUntil([&] { return !registry().Get("dogs")->preparing(); }));
  EXPECT_EQ(registry().Acquire("dogs").manifest->section, "other");
}

TEST_F(ModelRegistryTest, WhatBreaksWhileItIsLoadedAnewWaitsForThat) {
  CAMHERD_ASSERT_OK(registry().Prepare("dogs", false));
  ASSERT_TRUE(WaitFor("dogs", MODEL_STATE_READY));
  behaviour_.make = [this](const EngineRequest&, const PrepareProgressFn&,
                           const StopSignal&) {
    go_.WaitForNotification();
    return absl::OkStatus();
  };
  CAMHERD_ASSERT_OK(registry().Prepare("dogs", true));
  registry().ReportBroken("dogs", registry().Acquire("dogs").engine.get(),
                          absl::FailedPreconditionError("worker gone"));
  EXPECT_EQ(StateOf("dogs"), MODEL_STATE_LOADING);
  EXPECT_EQ(registry().Acquire("dogs").engine, nullptr);
  EXPECT_EQ(registry().Acquire("dogs").failure, "worker gone");
  go_.Notify();
  EXPECT_TRUE(WaitFor("dogs", MODEL_STATE_READY));
  EXPECT_NE(registry().Acquire("dogs").engine, nullptr);
}

TEST_F(ModelRegistryTest, WhatIsBeingPreparedIsNotUnloaded) {
  behaviour_.make = [this](const EngineRequest&, const PrepareProgressFn&,
                           const StopSignal&) {
    go_.WaitForNotification();
    return absl::OkStatus();
  };
  CAMHERD_ASSERT_OK(registry().Prepare("dogs", false));
  EXPECT_THAT(registry().Unload("dogs"),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       "model dogs is being prepared"));
  go_.Notify();
  EXPECT_TRUE(WaitFor("dogs", MODEL_STATE_READY));
  CAMHERD_EXPECT_OK(registry().Unload("dogs"));
  EXPECT_EQ(stopped(), 1);
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
