// SPDX-License-Identifier: Apache-2.0
#include "services/inference/inference_service.h"

#include <gmock/gmock.h>
#include <grpcpp/client_context.h>
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "services/common/clock.h"
#include "services/common/grpc_client.h"
#include "services/common/grpc_server.h"
#include "services/common/grpc_status.h"
#include "services/common/retry_delay.h"
#include "services/inference/aggregator_client.h"
#include "tests/support/status_matchers.h"
#include "tests/unit/inference/fakes.h"

namespace camherd::inference {
namespace {

using ::camherd::inference::testing::FakeBehaviour;
using ::camherd::inference::testing::MakeBatch;
using ::camherd::inference::testing::MakeFakeFactory;
using ::camherd::inference::testing::MakeJpeg;
using ::camherd::inference::testing::Manifest;
using ::camherd::inference::testing::TempDir;
using ::camherd::inference::testing::TestBatch;
using ::camherd::inference::testing::WaitUntil;
using ::camherd::testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using namespace camherd::v1;

// An aggregator that records, or answers what a test wants.
class FakeAggregator : public AggregatorService::Service {
 public:
  grpc::Status AddBatchResult(grpc::ServerContext* context,
                              grpc::ServerReader<AddBatchResultRequest>* reader,
                              AddBatchResultResponse* response) override {
    AddBatchResultRequest request;
    std::vector<int> pictures;
    int64_t seq = 0;
    while (reader->Read(&request)) {
      if (request.has_header()) seq = request.header().manifest().batch_seq();
      if (request.has_picture()) {
        pictures.push_back(request.picture().frame_index());
      }
    }
    if (hang_) {
      WaitUntil([&] { return context->IsCancelled() || !hang_; });
      return {grpc::StatusCode::CANCELLED, ""};
    }
    absl::MutexLock lock(&mu_);
    if (!answer_.ok()) return answer_;
    response->set_already_recorded(!recorded_.insert(seq).second);
    response->set_record_id(seq + 100);
    pictures_ = pictures;
    return grpc::Status::OK;
  }

  void SetAnswer(const grpc::Status& answer) {
    absl::MutexLock lock(&mu_);
    answer_ = answer;
  }
  std::vector<int> pictures() {
    absl::MutexLock lock(&mu_);
    return pictures_;
  }
  std::atomic<bool> hang_ = false;

 private:
  absl::Mutex mu_;
  grpc::Status answer_ ABSL_GUARDED_BY(mu_);
  std::set<int64_t> recorded_ ABSL_GUARDED_BY(mu_);
  std::vector<int> pictures_ ABSL_GUARDED_BY(mu_);
};

// The whole service but its engines, on real sockets.
class InferenceServiceTest : public ::testing::Test {
 protected:
  InferenceServiceTest() {
    dir_.Write("dogs/model.yaml", Manifest("stray_animal"));
    dir_.Write("wolves/model.yaml",
               "engines: [hog]\nclasses: [wolf]\nsection: wolves\nweights:\n"
               "  - file: wolf.pt\n    url: https://example.org/wolf.pt\n");
    behaviour_.make = [this](const EngineRequest&,
                             const PrepareProgressFn& progress,
                             const StopSignal& stop) {
      progress({MODEL_STATE_INSTALLING, 3, 10, "installing 3 of 10", {"pip"}});
      WaitUntil([&] { return made_.load() || stop.IsSet(); });
      return make_;
    };
    StartAggregator("127.0.0.1:0");
    ModelRegistry::Options registry;
    registry.models_dir = dir_.path();
    registry_ = std::make_unique<ModelRegistry>(
        registry, MakeFakeFactory(behaviour_), Clock::Real(), nullptr);
    client_ = std::make_unique<AggregatorClient>(AggregatorClient::Options{
        aggregator_->address(), absl::Milliseconds(500)});
    core_ = std::make_unique<InferenceCore>(InferenceCore::Options(),
                                            *registry_, *client_, nullptr);
    service_ = std::make_unique<InferenceServiceImpl>(
        InferenceServiceImpl::Options{absl::Seconds(2)}, *core_, *registry_,
        nullptr);
    GrpcServer::Options options;
    options.listen = "127.0.0.1:0";
    server_ = GrpcServer::Start(options, {service_.get()},
                                {InferenceService::service_full_name()})
                  .value();
    server_->SetServing(true);
    stub_ = InferenceService::NewStub(MakeChannel(server_->address()));
    // Until it has a connection the aggregator counts as away.
    WaitUntil([&] { return client_->CheckAvailable().ok(); });
  }
  ~InferenceServiceTest() override {
    made_ = true;
    core_->Drain();
    registry_->Stop();
    server_->Stop(absl::Seconds(2));
    core_->Stop();
    fake_aggregator_.hang_ = false;
    if (aggregator_ != nullptr) aggregator_->Stop(absl::Seconds(2));
  }

  void StartAggregator(const std::string& listen) {
    GrpcServer::Options options;
    options.listen = listen;
    aggregator_ = GrpcServer::Start(options, {&fake_aggregator_},
                                    {AggregatorService::service_full_name()})
                      .value();
  }

  void MakeReady() {
    ASSERT_TRUE(registry_->Prepare("dogs", false).ok());
    ASSERT_TRUE(WaitUntil(
        [&] { return registry_->Get("dogs")->state() == MODEL_STATE_READY; }));
  }

  absl::Status Infer(const TestBatch& batch,
                     InferBatchResponse* response = nullptr) {
    InferBatchResponse unused;
    grpc::ClientContext context;
    SetDeadline(context, absl::Seconds(20));
    const auto writer =
        stub_->InferBatch(&context, response == nullptr ? &unused : response);
    InferBatchRequest request;
    *request.mutable_header() = batch.header;
    bool open = writer->Write(request);
    for (const Frame& frame : batch.frames) {
      *request.mutable_frame() = frame;
      open = open && writer->Write(request);
    }
    writer->WritesDone();
    return FromGrpcStatus(writer->Finish(), &context);
  }

  TempDir dir_;
  FakeBehaviour behaviour_;
  std::atomic<bool> made_ = true;
  absl::Status make_;
  FakeAggregator fake_aggregator_;
  std::unique_ptr<GrpcServer> aggregator_;
  std::unique_ptr<ModelRegistry> registry_;
  std::unique_ptr<AggregatorClient> client_;
  std::unique_ptr<InferenceCore> core_;
  std::unique_ptr<InferenceServiceImpl> service_;
  std::unique_ptr<GrpcServer> server_;
  std::unique_ptr<InferenceService::Stub> stub_;
  const std::vector<std::string> jpegs_ = {
      MakeJpeg(640, 360, 10), MakeJpeg(640, 360, 20), MakeJpeg(640, 360, 30)};
};

TEST_F(InferenceServiceTest, ABatchGoesThroughToTheAggregator) {
  MakeReady();
  InferBatchResponse response;
  CAMHERD_ASSERT_OK(Infer(MakeBatch({"dogs"}, jpegs_, 7), &response));
  EXPECT_EQ(response.record_id(), 107);
  EXPECT_FALSE(response.already_recorded());
  EXPECT_EQ(response.results(0).detections_size(), 1);
  EXPECT_THAT(fake_aggregator_.pictures(), ElementsAre(0, 1));
  CAMHERD_ASSERT_OK(Infer(MakeBatch({"dogs"}, jpegs_, 7), &response));
  EXPECT_TRUE(response.already_recorded());
}

TEST_F(InferenceServiceTest, AModelNotReadyComesWithADelayInTheTrailers) {
  made_ = false;
  const absl::Status status = Infer(MakeBatch({"dogs"}, jpegs_));
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_EQ(RetryDelay(status), absl::Seconds(5));
  EXPECT_TRUE(HadNoEffect(status));
}

TEST_F(InferenceServiceTest, AllModelsFailedIsAFailedPrecondition) {
  EXPECT_THAT(
      Infer(MakeBatch({"wolves"}, jpegs_)),
      StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("wolf.pt")));
}

TEST_F(InferenceServiceTest, WrongBatchesAreInvalidOrLost) {
  MakeReady();
  TestBatch batch = MakeBatch({"dogs"}, jpegs_);
  batch.header.mutable_manifest()->set_batch_seq(0);
  EXPECT_THAT(Infer(batch), StatusIs(absl::StatusCode::kInvalidArgument));
  batch = MakeBatch({"dogs"}, jpegs_);
  (*batch.frames[0].mutable_jpeg())[10] ^= 1;
  EXPECT_THAT(Infer(batch), StatusIs(absl::StatusCode::kDataLoss));
  batch = MakeBatch({"dogs"}, jpegs_);
  batch.frames.pop_back();
  EXPECT_THAT(Infer(batch), StatusIs(absl::StatusCode::kInvalidArgument));
  grpc::ClientContext context;
  InferBatchResponse response;
  const auto writer = stub_->InferBatch(&context, &response);
  writer->WritesDone();
  EXPECT_EQ(writer->Finish().error_code(), grpc::INVALID_ARGUMENT);
  EXPECT_EQ(core_->batches_in_flight(), 0);
}

TEST_F(InferenceServiceTest, AnotherDigestPassesFromTheAggregator) {
  MakeReady();
  fake_aggregator_.SetAnswer({grpc::StatusCode::ALREADY_EXISTS, "digest"});
  EXPECT_THAT(Infer(MakeBatch({"dogs"}, jpegs_)),
              StatusIs(absl::StatusCode::kAlreadyExists));
}

TEST_F(InferenceServiceTest, AnAggregatorWithoutRoomIsToldAndHasNoEffect) {
  MakeReady();
  fake_aggregator_.SetAnswer(
      {grpc::StatusCode::RESOURCE_EXHAUSTED, "the disk is full"});
  const absl::Status status = Infer(MakeBatch({"dogs"}, jpegs_));
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kResourceExhausted,
                               HasSubstr("the disk is full")));
  EXPECT_EQ(RetryDelay(status), absl::Seconds(2));
  EXPECT_TRUE(HadNoEffect(status));
}

TEST_F(InferenceServiceTest, AnAnswerTheAggregatorMayHaveRecordedIsUnmarked) {
  MakeReady();
  fake_aggregator_.SetAnswer({grpc::StatusCode::UNAVAILABLE, "I/O error"});
  const absl::Status status = Infer(MakeBatch({"dogs"}, jpegs_));
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_FALSE(HadNoEffect(status));
}

TEST(AggregatorClientTest, ACallThatCannotBeginHadNoEffect) {
  AggregatorClient client({"127.0.0.1:1", absl::Seconds(10)});
  const TestBatch batch = MakeBatch({"dogs"}, {MakeJpeg()});
  AddBatchResultHeader header;
  *header.mutable_manifest() = batch.header.manifest();
  const auto answer =
      client.AddBatchResult(header, {{0, batch.frames[0].jpeg()}});
  EXPECT_THAT(answer, StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_TRUE(HadNoEffect(answer.status()));
}

TEST_F(InferenceServiceTest, ASlowAggregatorsBatchIsNotInferredAgain) {
  MakeReady();
  fake_aggregator_.hang_ = true;
  EXPECT_THAT(Infer(MakeBatch({"dogs"}, jpegs_)),
              StatusIs(absl::StatusCode::kUnavailable));
  fake_aggregator_.hang_ = false;
  CAMHERD_EXPECT_OK(Infer(MakeBatch({"dogs"}, jpegs_)));
  absl::MutexLock lock(&behaviour_.mu);
  EXPECT_EQ(behaviour_.inferred, 1);
}

TEST_F(InferenceServiceTest, NothingIsAdmittedWhileTheAggregatorIsAway) {
  MakeReady();
  CAMHERD_ASSERT_OK(Infer(MakeBatch({"dogs"}, jpegs_, 1)));
  const std::string address = aggregator_->address();
  aggregator_.reset();
  ASSERT_TRUE(WaitUntil([&] { return !client_->CheckAvailable().ok(); }));
  const absl::Status away = Infer(MakeBatch({"dogs"}, jpegs_, 2));
  EXPECT_THAT(away, StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_EQ(RetryDelay(away), absl::Seconds(2));
  {
    absl::MutexLock lock(&behaviour_.mu);
    EXPECT_EQ(behaviour_.inferred, 1);
  }
  StartAggregator(address);
  EXPECT_TRUE(
      WaitUntil([&] { return Infer(MakeBatch({"dogs"}, jpegs_, 2)).ok(); }));
}

TEST_F(InferenceServiceTest, AVanishedClientGivesItsPlaceBack) {
  MakeReady();
  const TestBatch batch = MakeBatch({"dogs"}, jpegs_);
  {
    grpc::ClientContext context;
    InferBatchResponse response;
    const auto writer = stub_->InferBatch(&context, &response);
    InferBatchRequest request;
    *request.mutable_header() = batch.header;
    ASSERT_TRUE(writer->Write(request));
    ASSERT_TRUE(WaitUntil([&] { return core_->batches_in_flight() == 1; }));
    context.TryCancel();
    writer->Finish();
  }
  EXPECT_TRUE(WaitUntil([&] { return core_->batches_in_flight() == 0; }));
  CAMHERD_EXPECT_OK(Infer(batch));
}

TEST_F(InferenceServiceTest, AClientThatSendsNoFramesIsGivenUp) {
  MakeReady();
  grpc::ClientContext context;
  InferBatchResponse response;
  const auto writer = stub_->InferBatch(&context, &response);
  InferBatchRequest request;
  *request.mutable_header() = MakeBatch({"dogs"}, jpegs_).header;
  ASSERT_TRUE(writer->Write(request));
  EXPECT_EQ(writer->Finish().error_code(), grpc::DEADLINE_EXCEEDED);
  EXPECT_TRUE(WaitUntil([&] { return core_->batches_in_flight() == 0; }));
}

TEST_F(InferenceServiceTest, AClientThatGoesDuringInferenceLosesNothing) {
  MakeReady();
  std::atomic<bool> running = false;
  std::atomic<bool> go = false;
  behaviour_.infer = [&](absl::Span<const Picture>) {
    running = true;
    WaitUntil([&] { return go.load(); });
    return InferResult();
  };
  const TestBatch batch = MakeBatch({"dogs"}, jpegs_, 3);
  grpc::ClientContext context;
  InferBatchResponse response;
  const auto writer = stub_->InferBatch(&context, &response);
  InferBatchRequest request;
  *request.mutable_header() = batch.header;
  ASSERT_TRUE(writer->Write(request));
  for (const Frame& frame : batch.frames) {
    *request.mutable_frame() = frame;
    ASSERT_TRUE(writer->Write(request));
  }
  writer->WritesDone();
  ASSERT_TRUE(WaitUntil([&] { return running.load(); }));
  context.TryCancel();
  writer->Finish();
  go = true;
  InferBatchResponse again;
  ASSERT_TRUE(WaitUntil([&] { return Infer(batch, &again).ok(); }));
  EXPECT_TRUE(again.already_recorded());
}

TEST_F(InferenceServiceTest, PrepareAnswersAtOnceThenEachStepThenReady) {
  made_ = false;
  grpc::ClientContext context;
  SetDeadline(context, absl::Seconds(20));
  PrepareModelRequest request;
  request.set_name("dogs");
  const auto reader = stub_->PrepareModel(&context, request);
  PrepareModelResponse response;
  ASSERT_TRUE(reader->Read(&response));
  EXPECT_NE(response.model().state(), MODEL_STATE_READY);
  while (response.model().state() != MODEL_STATE_INSTALLING) {
    ASSERT_TRUE(reader->Read(&response));
  }
  EXPECT_EQ(response.model().progress_text(), "installing 3 of 10");
  EXPECT_THAT(response.model().log_tail(), ElementsAre("pip"));
  made_ = true;
  while (reader->Read(&response)) {
  }
  EXPECT_EQ(response.model().state(), MODEL_STATE_READY);
  EXPECT_TRUE(reader->Finish().ok());
}

TEST_F(InferenceServiceTest, PrepareGoesOnWithoutItsCaller) {
  made_ = false;
  {
    grpc::ClientContext context;
    PrepareModelRequest request;
    request.set_name("dogs");
    const auto reader = stub_->PrepareModel(&context, request);
    PrepareModelResponse response;
    ASSERT_TRUE(reader->Read(&response));
    context.TryCancel();
    reader->Finish();
  }
  made_ = true;
  EXPECT_TRUE(WaitUntil(
      [&] { return registry_->Get("dogs")->state() == MODEL_STATE_READY; }));
}

TEST_F(InferenceServiceTest, PrepareEndsWithTheReasonOfAFailure) {
  make_ = absl::InternalError("pip broke");
  grpc::ClientContext context;
  PrepareModelRequest request;
  request.set_name("dogs");
  const auto reader = stub_->PrepareModel(&context, request);
  PrepareModelResponse response;
  while (reader->Read(&response)) {
  }
  EXPECT_EQ(response.model().state(), MODEL_STATE_FAILED);
  const grpc::Status status = reader->Finish();
  EXPECT_EQ(status.error_code(), grpc::FAILED_PRECONDITION);
  EXPECT_EQ(status.error_message(), "pip broke");
}

TEST_F(InferenceServiceTest, AFailedReloadEndsWithTheReasonAndServesOn) {
  MakeReady();
  make_ = absl::InternalError("no such weights");
  made_ = false;
  grpc::ClientContext context;
  PrepareModelRequest request;
  request.set_name("dogs");
  request.set_rebuild(true);
  const auto reader = stub_->PrepareModel(&context, request);
  PrepareModelResponse response;
  ASSERT_TRUE(reader->Read(&response));
  EXPECT_TRUE(response.model().preparing());
  CAMHERD_EXPECT_OK(Infer(MakeBatch({"dogs"}, jpegs_, 1)));
  made_ = true;
  while (reader->Read(&response)) {
  }
  EXPECT_FALSE(response.model().preparing());
  EXPECT_EQ(response.model().state(), MODEL_STATE_READY);
  const grpc::Status status = reader->Finish();
  EXPECT_EQ(status.error_code(), grpc::FAILED_PRECONDITION);
  EXPECT_THAT(status.error_message(), HasSubstr("no such weights"));
  CAMHERD_EXPECT_OK(Infer(MakeBatch({"dogs"}, jpegs_, 2)));
  // It is READY: nothing to prepare.
  grpc::ClientContext again;
  request.set_rebuild(false);
  const auto ready = stub_->PrepareModel(&again, request);
  while (ready->Read(&response)) {
  }
  EXPECT_TRUE(ready->Finish().ok());
}

TEST_F(InferenceServiceTest, PrepareSaysAtOnceWhatCannotBe) {
  PrepareModelRequest request;
  PrepareModelResponse response;
  for (const auto& [name, code, message] :
       {std::tuple{"cats", grpc::NOT_FOUND, "one of [dogs, wolves]"},
        {"wolves", grpc::FAILED_PRECONDITION, "Put wolf.pt"}}) {
    grpc::ClientContext context;
    request.set_name(name);
    const auto reader = stub_->PrepareModel(&context, request);
    EXPECT_FALSE(reader->Read(&response));
    const grpc::Status status = reader->Finish();
    EXPECT_EQ(status.error_code(), code);
    EXPECT_THAT(status.error_message(), HasSubstr(message));
  }
}

TEST_F(InferenceServiceTest, ListsGetsDetectsAndUnloads) {
  MakeReady();
  grpc::ClientContext list_context;
  ListModelsResponse models;
  ASSERT_TRUE(stub_->ListModels(&list_context, {}, &models).ok());
  ASSERT_EQ(models.models_size(), 2);
  EXPECT_EQ(models.models(0).name(), "dogs");
  EXPECT_EQ(models.models(0).state(), MODEL_STATE_READY);

  grpc::ClientContext detect_context;
  DetectRequest detect;
  detect.set_model("dogs");
  detect.set_jpeg(jpegs_[0]);
  DetectResponse detected;
  ASSERT_TRUE(stub_->Detect(&detect_context, detect, &detected).ok());
  EXPECT_EQ(detected.width(), 640);

  grpc::ClientContext unload_context;
  UnloadModelRequest unload;
  unload.set_name("dogs");
  Model model;
  ASSERT_TRUE(stub_->UnloadModel(&unload_context, unload, &model).ok());
  EXPECT_EQ(model.state(), MODEL_STATE_ABSENT);

  grpc::ClientContext get_context;
  GetModelRequest get;
  get.set_name("cats");
  EXPECT_EQ(stub_->GetModel(&get_context, get, &model).error_code(),
            grpc::NOT_FOUND);
}

TEST_F(InferenceServiceTest, AWatchTellsOfAModelUntilItIsReady) {
  grpc::ClientContext context;
  SetDeadline(context, absl::Seconds(20));
  WatchModelsResponse watched;
  const auto watch = stub_->WatchModels(&context, {});
  // Caught up.
  ASSERT_TRUE(watch->Read(&watched));
  EXPECT_FALSE(watched.has_model());
  EXPECT_FALSE(watched.resume_token().empty());
  ASSERT_TRUE(registry_->Prepare("dogs", false).ok());
  do {
    ASSERT_TRUE(watch->Read(&watched));
    EXPECT_EQ(watched.model().name(), "dogs");
  } while (watched.model().state() != MODEL_STATE_READY);
  service_->StopWatches();
  while (watch->Read(&watched)) {
  }
  EXPECT_EQ(watch->Finish().error_code(), grpc::UNAVAILABLE);
}

}  // namespace
}  // namespace camherd::inference
