// SPDX-License-Identifier: Apache-2.0
#include "services/inference/inference_core.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "services/common/retry_delay.h"
#include "tests/support/fake_clock.h"
#include "tests/support/status_matchers.h"
#include "tests/unit/inference/fakes.h"

namespace camherd::inference {
namespace {

using ::camherd::inference::testing::FakeBehaviour;
using ::camherd::inference::testing::FakeSink;
using ::camherd::inference::testing::MakeBatch;
using ::camherd::inference::testing::MakeFakeFactory;
using ::camherd::inference::testing::MakeJpeg;
using ::camherd::inference::testing::Manifest;
using ::camherd::inference::testing::TempDir;
using ::camherd::inference::testing::TestBatch;
using ::camherd::inference::testing::WaitUntil;
using ::camherd::testing::FakeClock;
using ::camherd::testing::IsOk;
using ::camherd::testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using namespace camherd::v1;

class InferenceCoreTest : public ::testing::Test {
 protected:
  InferenceCoreTest() {
    dir_.Write("dogs/model.yaml", Manifest("stray_animal"));
    dir_.Write("cats/model.yaml", Manifest("cats"));
    // Made when the test wants, and with the result it wants.
    behaviour_.make = [this](const EngineRequest& request,
                             const PrepareProgressFn&, const StopSignal& stop) {
      WaitUntil([&] { return made_.load() || stop.IsSet(); });
      return request.manifest.name == "cats" ? cats_ : dogs_;
    };
    options_.model_retry = absl::Seconds(5);
    options_.aggregator_retry = absl::Seconds(2);
    options_.admission_retry = absl::Seconds(1);
    jpegs_ = {MakeJpeg(64, 48, 10), MakeJpeg(64, 48, 20), MakeJpeg(64, 48, 30),
              MakeJpeg(64, 48, 40)};
  }
  ~InferenceCoreTest() override {
    if (core_ != nullptr) core_->Stop();
    if (registry_ != nullptr) registry_->Stop();
  }

  ModelRegistry& registry() {
    if (registry_ == nullptr) {
      ModelRegistry::Options options;
      options.models_dir = dir_.path();
      options.failed_retry = absl::Seconds(60);
      registry_ = std::make_unique<ModelRegistry>(
          options, MakeFakeFactory(behaviour_), clock_, nullptr);
    }
    return *registry_;
  }
  InferenceCore& core() {
    if (core_ == nullptr) {
      core_ =
          std::make_unique<InferenceCore>(options_, registry(), sink_, nullptr);
    }
    return *core_;
  }

  void Prepare(const std::string& name, ModelState state) {
    EXPECT_THAT(registry().Prepare(name, false), IsOk());
    EXPECT_TRUE(
        WaitUntil([&] { return registry().Get(name)->state() == state; }));
  }

  // Sends a batch and waits for the answer.
  absl::StatusOr<InferBatchResponse> Infer(const TestBatch& batch,
                                           bool cancelled = false) {
    auto admitted = core().Admit(batch.header);
    if (!admitted.ok()) return admitted.status();
    for (const Frame& frame : batch.frames) {
      const absl::Status status = (*admitted)->AddFrame(frame);
      if (!status.ok()) return status;
    }
    absl::Notification done;
    absl::StatusOr<InferBatchResponse> answer;
    core().Run(*std::move(admitted),
               std::make_shared<std::atomic<bool>>(cancelled),
               [&](absl::StatusOr<InferBatchResponse> response) {
                 answer = std::move(response);
                 done.Notify();
               });
    done.WaitForNotification();
    return answer;
  }
  absl::StatusOr<DetectResponse> Detect(const DetectRequest& request) {
    absl::Notification done;
    absl::StatusOr<DetectResponse> answer;
    core().Detect(request, [&](absl::StatusOr<DetectResponse> response) {
      answer = std::move(response);
      done.Notify();
    });
    done.WaitForNotification();
    return answer;
  }
  int inferred() {
    absl::MutexLock lock(&behaviour_.mu);
    return behaviour_.inferred;
  }

  TempDir dir_;
  FakeClock clock_;
  FakeBehaviour behaviour_;
  FakeSink sink_;
  absl::Status dogs_;
  absl::Status cats_;
  std::atomic<bool> made_ = true;
  InferenceCore::Options options_;
  std::vector<std::string> jpegs_;
  std::unique_ptr<ModelRegistry> registry_;
  std::unique_ptr<InferenceCore> core_;
};

TEST_F(InferenceCoreTest, HandsOverResultsFrameZeroAndFramesWithDetections) {
  Prepare("dogs", MODEL_STATE_READY);
  const TestBatch batch = MakeBatch({"dogs"}, jpegs_);
  const auto answer = Infer(batch);
  CAMHERD_ASSERT_OK(answer);
  EXPECT_EQ(answer->record_id(), 1);
  ASSERT_EQ(answer->results_size(), 1);
  const ModelResult& result = answer->results(0);
  EXPECT_EQ(result.outcome(), OUTCOME_CODE_OK);
  EXPECT_EQ(result.section(), "stray_animal");
  EXPECT_EQ(result.engine(), "fake");
  EXPECT_EQ(result.detections_size(), 2);
  EXPECT_THAT(sink_.pictures(), ElementsAre(0, 1, 3));
  ASSERT_EQ(sink_.headers().size(), 1U);
  EXPECT_EQ(sink_.headers()[0].manifest_sha256(),
            batch.header.manifest_sha256());
  EXPECT_EQ(sink_.headers()[0].manifest().SerializeAsString(),
            batch.header.manifest().SerializeAsString());
  EXPECT_EQ(core().batches_in_flight(), 0);
  EXPECT_EQ(core().bytes_in_flight(), 0);
}

TEST_F(InferenceCoreTest, WhatDoesNotCountForTheCameraIsSeenByNobody) {
  Prepare("dogs", MODEL_STATE_READY);
  TestBatch batch = MakeBatch({"dogs"}, jpegs_);
  DetectionFilter& filter = *batch.header.mutable_filter();
  // The fake's dogs stand at (5, 10) of 64 x 48.
  Zone& zone = *filter.add_zones();
  zone.set_name("corner");
  for (const auto& [x, y] :
       {std::pair{0.0, 0.0}, std::pair{0.5, 0.0}, std::pair{0.0, 0.5}}) {
    Point& point = *zone.mutable_area()->add_points();
    point.set_x(x);
    point.set_y(y);
  }
  (*filter.mutable_class_thresholds())["dog"] = 0.1;
  auto answer = Infer(batch);
  CAMHERD_ASSERT_OK(answer);
  EXPECT_EQ(answer->results(0).detections(0).zone(), "corner");
  {
    absl::MutexLock lock(&behaviour_.mu);
    EXPECT_EQ(behaviour_.min_score, 0.1);
  }
  zone.mutable_area()->mutable_points(0)->set_x(0.4);
  zone.mutable_area()->mutable_points(2)->set_x(0.4);
  batch.header.mutable_manifest()->set_batch_seq(2);
  answer = Infer(batch);
  CAMHERD_ASSERT_OK(answer);
  EXPECT_EQ(answer->results(0).outcome(), OUTCOME_CODE_OK);
  EXPECT_THAT(answer->results(0).detections(), IsEmpty());
  EXPECT_THAT(sink_.headers()[1].results(0).detections(), IsEmpty());
  // No picture but the first has to travel.
  EXPECT_THAT(sink_.pictures(), ElementsAre(0));
}

TEST_F(InferenceCoreTest, AModelThatIsNotReadyIsPreparedAndAskedForLater) {
  made_ = false;
  const auto answer = Infer(MakeBatch({"dogs"}, jpegs_));
  EXPECT_THAT(answer, StatusIs(absl::StatusCode::kUnavailable,
                               HasSubstr("dogs is being prepared")));
  EXPECT_EQ(RetryDelay(answer.status()), absl::Seconds(5));
  made_ = true;
  EXPECT_TRUE(WaitUntil(
      [&] { return registry().Get("dogs")->state() == MODEL_STATE_READY; }));
  CAMHERD_EXPECT_OK(Infer(MakeBatch({"dogs"}, jpegs_)));
}

TEST_F(InferenceCoreTest, AllModelsFailedIsAFailedPrecondition) {
  dogs_ = absl::InternalError("no wheels");
  Prepare("dogs", MODEL_STATE_FAILED);
  EXPECT_THAT(Infer(MakeBatch({"dogs"}, jpegs_)),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("dogs: no wheels")));
  EXPECT_THAT(
      Infer(MakeBatch({"wolves"}, jpegs_)),
      StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("\"wolves\"")));
}

TEST_F(InferenceCoreTest, AFailedModelDoesNotBlockTheOther) {
  cats_ = absl::InternalError("no wheels");
  Prepare("cats", MODEL_STATE_FAILED);
  Prepare("dogs", MODEL_STATE_READY);
  const auto answer = Infer(MakeBatch({"cats", "dogs"}, jpegs_));
  CAMHERD_ASSERT_OK(answer);
  EXPECT_EQ(answer->results(0).outcome(), OUTCOME_CODE_FAILED);
  EXPECT_EQ(answer->results(0).reason(), "no wheels");
  EXPECT_EQ(answer->results(0).section(), "cats");
  EXPECT_EQ(answer->results(1).outcome(), OUTCOME_CODE_OK);
}

TEST_F(InferenceCoreTest, AFailedModelThatIsTriedAgainDoesNotBlockEither) {
  dogs_ = absl::InternalError("no wheels");
  Prepare("dogs", MODEL_STATE_FAILED);
  Prepare("cats", MODEL_STATE_READY);
  made_ = false;
  clock_.Advance(absl::Seconds(61));
  const auto answer = Infer(MakeBatch({"dogs", "cats"}, jpegs_));
  CAMHERD_ASSERT_OK(answer);
  EXPECT_EQ(answer->results(0).reason(), "no wheels");
  EXPECT_NE(registry().Get("dogs")->state(), MODEL_STATE_FAILED);
  made_ = true;
}

TEST_F(InferenceCoreTest, ABatchThatBreaksTheModelIsRecordedWithTheReason) {
  Prepare("dogs", MODEL_STATE_READY);
  behaviour_.infer = [](absl::Span<const Picture>) {
    return absl::AbortedError("the worker failed twice on this batch");
  };
  const auto answer = Infer(MakeBatch({"dogs"}, jpegs_));
  CAMHERD_ASSERT_OK(answer);
  EXPECT_EQ(answer->results(0).outcome(), OUTCOME_CODE_FAILED);
  EXPECT_THAT(answer->results(0).reason(), HasSubstr("failed twice"));
  EXPECT_EQ(registry().Get("dogs")->batches_failed(), 1);
}

TEST_F(InferenceCoreTest, ABrokenEngineMakesTheModelFailedAndKeepsTheBatch) {
  Prepare("dogs", MODEL_STATE_READY);
  behaviour_.infer = [](absl::Span<const Picture>) {
    return absl::FailedPreconditionError("the worker cannot be started");
  };
  EXPECT_THAT(Infer(MakeBatch({"dogs"}, jpegs_)),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("cannot be started")));
  EXPECT_EQ(registry().Get("dogs")->state(), MODEL_STATE_FAILED);
  EXPECT_THAT(sink_.headers(), IsEmpty());
}

TEST_F(InferenceCoreTest, AnEngineWithoutATurnIsAskedAgainLater) {
  Prepare("dogs", MODEL_STATE_READY);
  behaviour_.infer = [](absl::Span<const Picture>) {
    return absl::UnavailableError("no worker was free");
  };
  const auto answer = Infer(MakeBatch({"dogs"}, jpegs_));
  EXPECT_THAT(answer, StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_TRUE(RetryDelay(answer.status()).has_value());
}

TEST_F(InferenceCoreTest, AdmitsNothingWhileTheAggregatorIsAway) {
  Prepare("dogs", MODEL_STATE_READY);
  sink_.SetAvailable(absl::UnavailableError("the aggregator is away"));
  const auto answer = Infer(MakeBatch({"dogs"}, jpegs_));
  EXPECT_THAT(answer, StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_EQ(RetryDelay(answer.status()), absl::Seconds(2));
  EXPECT_EQ(inferred(), 0);
}

TEST_F(InferenceCoreTest, ARetryAfterASlowAggregatorIsNotInferredAgain) {
  Prepare("dogs", MODEL_STATE_READY);
  sink_.SetAnswer(absl::DeadlineExceededError("slow"));
  const auto first = Infer(MakeBatch({"dogs"}, jpegs_));
  EXPECT_THAT(first, StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_EQ(RetryDelay(first.status()), absl::Seconds(2));
  sink_.SetAnswer(absl::OkStatus());
  const auto second = Infer(MakeBatch({"dogs"}, jpegs_));
  CAMHERD_ASSERT_OK(second);
  EXPECT_EQ(inferred(), 1);
  EXPECT_EQ(second->results(0).detections_size(), 2);
  EXPECT_THAT(sink_.pictures(), ElementsAre(0, 1, 3));
}

TEST_F(InferenceCoreTest, TheSameKeyWithOtherFramesIsInferredAnew) {
  Prepare("dogs", MODEL_STATE_READY);
  CAMHERD_ASSERT_OK(Infer(MakeBatch({"dogs"}, jpegs_)));
  jpegs_.pop_back();
  sink_.SetAnswer(absl::AlreadyExistsError("another digest"));
  EXPECT_THAT(Infer(MakeBatch({"dogs"}, jpegs_)),
              StatusIs(absl::StatusCode::kAlreadyExists));
  EXPECT_EQ(inferred(), 2);
}

TEST_F(InferenceCoreTest, WhatBlamesTheBatchAndNoRoomPassFromTheAggregator) {
  Prepare("dogs", MODEL_STATE_READY);
  int64_t batch_seq = 0;
  for (const auto& [code, expected] :
       {std::pair{absl::StatusCode::kInvalidArgument,
                  absl::StatusCode::kInvalidArgument},
        {absl::StatusCode::kDataLoss, absl::StatusCode::kDataLoss},
        {absl::StatusCode::kAlreadyExists, absl::StatusCode::kAlreadyExists},
        {absl::StatusCode::kResourceExhausted,
         absl::StatusCode::kResourceExhausted},
        {absl::StatusCode::kInternal, absl::StatusCode::kUnavailable},
        {absl::StatusCode::kFailedPrecondition,
         absl::StatusCode::kUnavailable}}) {
    sink_.SetAnswer(absl::Status(code, "no"));
    EXPECT_THAT(Infer(MakeBatch({"dogs"}, jpegs_, ++batch_seq)),
                StatusIs(expected));
  }
}

TEST_F(InferenceCoreTest, AnAggregatorWithoutRoomSaysWhenAndHasNoEffect) {
  Prepare("dogs", MODEL_STATE_READY);
  sink_.SetAnswer(WithRetryDelay(absl::ResourceExhaustedError("disk full"),
                                 absl::Seconds(7)));
  const auto answer = Infer(MakeBatch({"dogs"}, jpegs_));
  EXPECT_THAT(answer, StatusIs(absl::StatusCode::kResourceExhausted,
                               HasSubstr("disk full")));
  EXPECT_EQ(RetryDelay(answer.status()), absl::Seconds(7));
  EXPECT_TRUE(HadNoEffect(answer.status()));
}

TEST_F(InferenceCoreTest, WhatTheAggregatorMayHaveRecordedIsNotWithoutEffect) {
  Prepare("dogs", MODEL_STATE_READY);
  int64_t batch_seq = 0;
  for (const auto code :
       {absl::StatusCode::kDeadlineExceeded, absl::StatusCode::kUnavailable,
        absl::StatusCode::kInternal}) {
    sink_.SetAnswer(absl::Status(code, "who knows"));
    const auto answer = Infer(MakeBatch({"dogs"}, jpegs_, ++batch_seq));
    EXPECT_THAT(answer, StatusIs(absl::StatusCode::kUnavailable));
    EXPECT_FALSE(HadNoEffect(answer.status()));
  }
  sink_.SetAnswer(WithoutEffect(absl::UnavailableError("did not begin")));
  const auto answer = Infer(MakeBatch({"dogs"}, jpegs_, ++batch_seq));
  EXPECT_THAT(answer, StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_TRUE(HadNoEffect(answer.status()));
}

TEST_F(InferenceCoreTest, WhatIsRefusedBeforeTheAggregatorHadNoEffect) {
  options_.max_batches_in_flight = 1;
  dogs_ = absl::InternalError("no wheels");
  Prepare("dogs", MODEL_STATE_FAILED);
  EXPECT_TRUE(HadNoEffect(Infer(MakeBatch({"dogs"}, jpegs_)).status()));
  Prepare("cats", MODEL_STATE_READY);
  const TestBatch batch = MakeBatch({"cats"}, jpegs_, 2);
  sink_.SetAvailable(absl::UnavailableError("the aggregator is away"));
  EXPECT_TRUE(HadNoEffect(Infer(batch).status()));
  sink_.SetAvailable(absl::OkStatus());
  behaviour_.infer = [](absl::Span<const Picture>) {
    return absl::UnavailableError("no worker was free");
  };
  EXPECT_TRUE(HadNoEffect(Infer(batch).status()));
  {
    const auto first = core().Admit(batch.header);
    CAMHERD_ASSERT_OK(first);
    const auto full = core().Admit(MakeBatch({"cats"}, jpegs_, 3).header);
    EXPECT_THAT(full, StatusIs(absl::StatusCode::kResourceExhausted));
    EXPECT_TRUE(HadNoEffect(full.status()));
    // The other call may record it.
    const auto twice = core().Admit(batch.header);
    EXPECT_THAT(twice, StatusIs(absl::StatusCode::kUnavailable));
    EXPECT_FALSE(HadNoEffect(twice.status()));
  }
  core().Drain();
  EXPECT_TRUE(HadNoEffect(core().Admit(batch.header).status()));
}

TEST_F(InferenceCoreTest, AModelBeingPreparedHadNoEffect) {
  made_ = false;
  EXPECT_TRUE(HadNoEffect(Infer(MakeBatch({"dogs"}, jpegs_)).status()));
  made_ = true;
}

TEST_F(InferenceCoreTest, RefusesMoreBatchesThanItHoldsAndTakesThemLater) {
  options_.max_batches_in_flight = 1;
  Prepare("dogs", MODEL_STATE_READY);
  auto first = core().Admit(MakeBatch({"dogs"}, jpegs_, 1).header);
  CAMHERD_ASSERT_OK(first);
  const auto second = core().Admit(MakeBatch({"dogs"}, jpegs_, 2).header);
  EXPECT_THAT(second, StatusIs(absl::StatusCode::kResourceExhausted));
  EXPECT_EQ(RetryDelay(second.status()), absl::Seconds(1));
  first->reset();
  CAMHERD_EXPECT_OK(core().Admit(MakeBatch({"dogs"}, jpegs_, 2).header));
}

TEST_F(InferenceCoreTest, RefusesMoreBytesThanItHolds) {
  Prepare("dogs", MODEL_STATE_READY);
  const TestBatch batch = MakeBatch({"dogs"}, jpegs_, 1);
  int64_t bytes = 0;
  for (const std::string& jpeg : jpegs_) {
    bytes += static_cast<int64_t>(jpeg.size());
  }
  options_.max_bytes_in_flight = bytes + 10;
  const auto first = core().Admit(batch.header);
  CAMHERD_ASSERT_OK(first);
  EXPECT_THAT(core().Admit(MakeBatch({"dogs"}, jpegs_, 2).header),
              StatusIs(absl::StatusCode::kResourceExhausted));
}

TEST_F(InferenceCoreTest, AStreamThatWasRefusedIsTheNextOne) {
  options_.max_batches_in_flight = 1;
  // Long enough for a slow machine.
  options_.admission_retry = absl::Minutes(10);
  Prepare("dogs", MODEL_STATE_READY);
  const auto batch = [&](const char* stream, int64_t batch_seq) {
    InferBatchHeader header = MakeBatch({"dogs"}, jpegs_, batch_seq).header;
    header.mutable_manifest()->set_stream_id(stream);
    header.mutable_manifest()->set_session_id(stream);
    return header;
  };
  auto first = core().Admit(batch("greedy", 1));
  CAMHERD_ASSERT_OK(first);
  EXPECT_THAT(core().Admit(batch("modest", 1)),
              StatusIs(absl::StatusCode::kResourceExhausted));
  first->reset();
  EXPECT_THAT(core().Admit(batch("greedy", 2)),
              StatusIs(absl::StatusCode::kResourceExhausted));
  CAMHERD_EXPECT_OK(core().Admit(batch("modest", 1)));
}

TEST_F(InferenceCoreTest, TheModelsOfABatchDecodeEachPictureOnce) {
  Prepare("dogs", MODEL_STATE_READY);
  Prepare("cats", MODEL_STATE_READY);
  std::set<std::shared_ptr<const Bitmap>> bitmaps;
  int looked_at = 0;
  behaviour_.infer = [&](absl::Span<const Picture> pictures) {
    for (const Picture& picture : pictures) {
      const auto bitmap = SharedBitmap::Decode(picture, {});
      CAMHERD_EXPECT_OK(bitmap);
      bitmaps.insert(*bitmap);
      ++looked_at;
    }
    return InferResult();
  };
  CAMHERD_ASSERT_OK(Infer(MakeBatch({"dogs", "cats"}, jpegs_, 1)));
  EXPECT_EQ(looked_at, 8);
  EXPECT_EQ(bitmaps.size(), 4U);
  // Not so where there is nothing to share.
  CAMHERD_ASSERT_OK(Infer(MakeBatch({"dogs"}, jpegs_, 2)));
  EXPECT_EQ(bitmaps.size(), 8U);
}

TEST_F(InferenceCoreTest, WhatDoesNotFitIsDecodedForEachModel) {
  options_.max_bitmap_bytes = 2 * 64 * 48 * 3;
  Prepare("dogs", MODEL_STATE_READY);
  Prepare("cats", MODEL_STATE_READY);
  std::set<std::shared_ptr<const Bitmap>> bitmaps;
  behaviour_.infer = [&](absl::Span<const Picture> pictures) {
    for (const Picture& picture : pictures) {
      bitmaps.insert(SharedBitmap::Decode(picture, {}).value());
    }
    return InferResult();
  };
  CAMHERD_ASSERT_OK(Infer(MakeBatch({"dogs", "cats"}, jpegs_)));
  // Two are kept, and two are not.
  EXPECT_EQ(bitmaps.size(), 6U);
}

TEST_F(InferenceCoreTest, NothingIsKeptForWhatTakesTheJpegAsItIs) {
  Prepare("dogs", MODEL_STATE_READY);
  Prepare("cats", MODEL_STATE_READY);
  behaviour_.decoded_size = [](const Picture&) { return JpegSize(); };
  behaviour_.infer = [](absl::Span<const Picture> pictures) {
    for (const Picture& picture : pictures) {
      EXPECT_EQ(picture.shared, nullptr);
    }
    return InferResult();
  };
  CAMHERD_EXPECT_OK(Infer(MakeBatch({"dogs", "cats"}, jpegs_)));
}

TEST_F(InferenceCoreTest, SaysHowLongAPictureTakes) {
  Prepare("dogs", MODEL_STATE_READY);
  EXPECT_EQ(registry().Get("dogs")->latency_p50_seconds(), 0);
  CAMHERD_ASSERT_OK(Infer(MakeBatch({"dogs"}, jpegs_)));
  const Model model = *registry().Get("dogs");
  EXPECT_GT(model.latency_p50_seconds(), 0);
  EXPECT_GE(model.latency_p99_seconds(), model.latency_p50_seconds());
}

TEST_F(InferenceCoreTest, ABatchThatCanNeverFitIsInvalid) {
  options_.max_bytes_in_flight = 100;
  Prepare("dogs", MODEL_STATE_READY);
  EXPECT_THAT(
      core().Admit(MakeBatch({"dogs"}, jpegs_).header),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("at most 100")));
}

TEST_F(InferenceCoreTest, TheSameBatchTwiceAtOnceIsWorkedOnOnce) {
  Prepare("dogs", MODEL_STATE_READY);
  const auto first = core().Admit(MakeBatch({"dogs"}, jpegs_).header);
  CAMHERD_ASSERT_OK(first);
  EXPECT_THAT(
      core().Admit(MakeBatch({"dogs"}, jpegs_).header),
      StatusIs(absl::StatusCode::kUnavailable, HasSubstr("being worked on")));
}

TEST_F(InferenceCoreTest, FramesMustBeThoseOfTheManifest) {
  Prepare("dogs", MODEL_STATE_READY);
  TestBatch batch = MakeBatch({"dogs"}, jpegs_);
  batch.frames[1].set_jpeg(jpegs_[1] + "x");
  EXPECT_THAT(Infer(batch),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("frame 1 has")));
  batch = MakeBatch({"dogs"}, jpegs_);
  (*batch.frames[2].mutable_jpeg())[20] ^= 1;
  EXPECT_THAT(Infer(batch),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("SHA-256")));
  batch = MakeBatch({"dogs"}, jpegs_);
  batch.frames.pop_back();
  EXPECT_THAT(Infer(batch), StatusIs(absl::StatusCode::kInvalidArgument,
                                     HasSubstr("1 frames of the manifest")));
  batch = MakeBatch({"dogs"}, jpegs_);
  batch.frames.push_back(batch.frames[0]);
  EXPECT_THAT(Infer(batch), StatusIs(absl::StatusCode::kInvalidArgument,
                                     HasSubstr("more frames than")));
  EXPECT_EQ(core().batches_in_flight(), 0);
}

TEST_F(InferenceCoreTest, EachWrongFieldOfTheHeaderIsNamed) {
  const auto refuses = [&](const char* word, auto&& change) {
    InferBatchHeader header = MakeBatch({"dogs"}, jpegs_).header;
    change(header);
    EXPECT_THAT(core().Admit(header),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(word)));
  };
  refuses("manifest_sha256", [](auto& h) { h.set_manifest_sha256("short"); });
  refuses("session_id",
          [](auto& h) { h.mutable_manifest()->set_session_id("../x"); });
  refuses("stream_id",
          [](auto& h) { h.mutable_manifest()->clear_stream_id(); });
  refuses("camera_id",
          [](auto& h) { h.mutable_manifest()->set_camera_id("a b"); });
  refuses("batch_seq must be at least 1, got 0",
          [](auto& h) { h.mutable_manifest()->set_batch_seq(0); });
  refuses("models must hold",
          [](auto& h) { h.mutable_manifest()->clear_models(); });
  refuses("twice", [](auto& h) { h.mutable_manifest()->add_models("dogs"); });
  refuses("frames must hold",
          [](auto& h) { h.mutable_manifest()->clear_frames(); });
  refuses("frames[0].sha256", [](auto& h) {
    h.mutable_manifest()->mutable_frames(0)->set_sha256("x");
  });
  refuses("frames[1].size_bytes", [](auto& h) {
    h.mutable_manifest()->mutable_frames(1)->set_size_bytes(-1);
  });
}

TEST_F(InferenceCoreTest, UndecodableFramesAreCountedAndListed) {
  Prepare("dogs", MODEL_STATE_READY);
  jpegs_[1] = "no picture";
  behaviour_.infer = [](absl::Span<const Picture> pictures) {
    EXPECT_EQ(pictures.size(), 3U);
    InferResult result;
    result.undecodable_frames = {0};
    return result;
  };
  const auto answer = Infer(MakeBatch({"dogs"}, jpegs_));
  CAMHERD_ASSERT_OK(answer);
  EXPECT_EQ(answer->results(0).outcome(), OUTCOME_CODE_OK);
  EXPECT_THAT(answer->results(0).undecodable_frames(), ElementsAre(0, 1));
}

TEST_F(InferenceCoreTest, AModelIsSkippedWhereNoFrameCanBeDecoded) {
  Prepare("dogs", MODEL_STATE_READY);
  const auto answer = Infer(MakeBatch({"dogs"}, {"no picture", "nor this"}));
  CAMHERD_ASSERT_OK(answer);
  EXPECT_EQ(answer->results(0).outcome(), OUTCOME_CODE_SKIPPED);
  EXPECT_THAT(answer->results(0).undecodable_frames(), ElementsAre(0, 1));
  EXPECT_EQ(inferred(), 0);
  EXPECT_THAT(sink_.pictures(), ElementsAre(0));
}

TEST_F(InferenceCoreTest, AClientThatHasGoneCostsNoInference) {
  Prepare("dogs", MODEL_STATE_READY);
  EXPECT_THAT(Infer(MakeBatch({"dogs"}, jpegs_), /*cancelled=*/true),
              StatusIs(absl::StatusCode::kCancelled));
  EXPECT_EQ(inferred(), 0);
  EXPECT_EQ(core().batches_in_flight(), 0);
}

TEST_F(InferenceCoreTest, AdmitsNothingWhenItStops) {
  Prepare("dogs", MODEL_STATE_READY);
  core().Drain();
  EXPECT_THAT(core().Admit(MakeBatch({"dogs"}, jpegs_).header),
              StatusIs(absl::StatusCode::kUnavailable));
}

TEST_F(InferenceCoreTest, DetectLooksAtOnePictureAndRecordsNothing) {
  Prepare("dogs", MODEL_STATE_READY);
  behaviour_.infer = [](absl::Span<const Picture> pictures) {
    EXPECT_EQ(pictures.size(), 1U);
    InferResult result;
    result.detections.emplace_back().set_class_name("dog");
    return result;
  };
  DetectRequest request;
  request.set_model("dogs");
  request.set_jpeg(MakeJpeg(320, 200));
  const auto answer = Detect(request);
  CAMHERD_ASSERT_OK(answer);
  EXPECT_EQ(answer->detections_size(), 1);
  EXPECT_EQ(answer->width(), 320);
  EXPECT_EQ(answer->engine(), "fake");
  EXPECT_THAT(sink_.headers(), IsEmpty());
}

TEST_F(InferenceCoreTest, DetectNamesWhatIsWrong) {
  Prepare("dogs", MODEL_STATE_READY);
  DetectRequest request;
  request.set_model("wolves");
  request.set_jpeg(jpegs_[0]);
  EXPECT_THAT(Detect(request), StatusIs(absl::StatusCode::kNotFound));
  request.set_model("dogs");
  request.set_min_score(1.5);
  EXPECT_THAT(Detect(request),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "min_score must be in [0, 1], got 1.5"));
  request.set_min_score(0.5);
  request.set_jpeg("no picture");
  EXPECT_THAT(Detect(request), StatusIs(absl::StatusCode::kInvalidArgument,
                                        HasSubstr("jpeg: ")));
  request.set_jpeg(jpegs_[0]);
  made_ = false;
  request.set_model("cats");
  EXPECT_THAT(Detect(request), StatusIs(absl::StatusCode::kUnavailable));
}

}  // namespace
}  // namespace camherd::inference
