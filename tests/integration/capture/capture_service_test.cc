// SPDX-License-Identifier: Apache-2.0
#include "services/capture/capture_service.h"

#include <gmock/gmock.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "camherd/v1/aggregator_service.grpc.pb.h"
#include "camherd/v1/inference_service.grpc.pb.h"
#include "services/capture/aggregator_client.h"
#include "services/capture/capture_metrics.h"
#include "services/capture/inference_client.h"
#include "services/common/grpc_client.h"
#include "services/common/grpc_server.h"
#include "services/common/grpc_status.h"
#include "services/common/metrics_exporter.h"
#include "services/common/retry_delay.h"
#include "tests/support/status_matchers.h"
#include "tests/unit/capture/supervisor_testbed.h"

namespace camherd::capture {
namespace {

using ::camherd::testing::IsOk;
using ::testing::AllOf;
using ::testing::ElementsAre;
using testing::Eventually;
using testing::ExpectIdentities;
using testing::ExpectStoreAgrees;
using testing::FakeWorker;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::TempDir;

// An inference service that answers what the test says, and records as the
// aggregator does: once per (session, batch_seq).
class InferenceFake : public v1::InferenceService::Service {
 public:
  grpc::Status InferBatch(grpc::ServerContext* context,
                          grpc::ServerReader<v1::InferBatchRequest>* reader,
                          v1::InferBatchResponse* response) override {
    v1::InferBatchRequest request;
    if (!reader->Read(&request) || !request.has_header()) {
      return {grpc::StatusCode::INVALID_ARGUMENT, "no header"};
    }
    const v1::InferBatchHeader header = request.header();
    absl::Status answer;
    bool after_recording = false;
    {
      absl::MutexLock lock(&mu_);
      ++attempts_;
      headers_.push_back(header.SerializeAsString());
      if (!answers_.empty()) {
        answer = answers_.front();
        answers_.erase(answers_.begin());
        after_recording = after_recording_;
      }
    }
    if (!answer.ok() && !after_recording) return ToGrpcStatus(answer, context);
    int frames = 0;
    while (reader->Read(&request)) {
      EXPECT_EQ(Sha256(request.frame().jpeg()),
                header.manifest().frames(frames).sha256());
      ++frames;
    }
    EXPECT_LE(frames, header.manifest().frames_size());
    if (frames < header.manifest().frames_size()) {
      return {grpc::StatusCode::CANCELLED, "the sender has gone"};
    }
    EXPECT_EQ(Sha256(header.manifest().SerializeAsString()),
              header.manifest_sha256());
    absl::MutexLock lock(&mu_);
    const auto [it, added] = records_.emplace(
        BatchKey{header.manifest().session_id(), header.manifest().batch_seq()},
        header.manifest_sha256());
    EXPECT_EQ(it->second, header.manifest_sha256());
    response->set_already_recorded(!added);
    if (!answer.ok()) return ToGrpcStatus(answer, context);
    return grpc::Status::OK;
  }

  grpc::Status PrepareModel(
      grpc::ServerContext*, const v1::PrepareModelRequest* request,
      grpc::ServerWriter<v1::PrepareModelResponse>* writer) override {
    if (request->name() == "broken") {
      v1::PrepareModelResponse step;
      step.mutable_model()->set_state(v1::MODEL_STATE_FAILED);
      writer->Write(step);
      return {grpc::StatusCode::FAILED_PRECONDITION, "put weights.pt there"};
    }
    if (request->name() != "animals") {
      return {grpc::StatusCode::NOT_FOUND, "no such model"};
    }
    v1::PrepareModelResponse step;
    step.mutable_model()->set_state(v1::MODEL_STATE_INSTALLING);
    // Until the caller has heard enough.
    while (writer->Write(step)) {
      Clock::Real().SleepFor(absl::Milliseconds(5));
    }
    return grpc::Status::CANCELLED;
  }

  grpc::Status ListModels(grpc::ServerContext*, const v1::ListModelsRequest*,
                          v1::ListModelsResponse* response) override {
    response->add_models()->set_name("animals");
    response->add_models()->set_name("broken");
    return grpc::Status::OK;
  }

  // What the next calls answer, at the header, or after the batch has been
  // recorded.
  void AnswerNext(std::vector<absl::Status> answers, bool after_recording) {
    absl::MutexLock lock(&mu_);
    answers_ = std::move(answers);
    after_recording_ = after_recording;
  }
  int attempts() {
    absl::MutexLock lock(&mu_);
    return attempts_;
  }
  size_t records() {
    absl::MutexLock lock(&mu_);
    return records_.size();
  }
  std::vector<std::string> headers() {
    absl::MutexLock lock(&mu_);
    return headers_;
  }

 private:
  absl::Mutex mu_;
  std::vector<absl::Status> answers_ ABSL_GUARDED_BY(mu_);
  bool after_recording_ ABSL_GUARDED_BY(mu_) = false;
  int attempts_ ABSL_GUARDED_BY(mu_) = 0;
  std::vector<std::string> headers_ ABSL_GUARDED_BY(mu_);
  std::map<BatchKey, std::string> records_ ABSL_GUARDED_BY(mu_);
};

class AggregatorFake : public v1::AggregatorService::Service {
 public:
  grpc::Status RenderGrid(grpc::ServerContext*,
                          grpc::ServerReader<v1::RenderGridRequest>* reader,
                          v1::RenderGridResponse* response) override {
    v1::RenderGridRequest request;
    reader->Read(&request);
    response->mutable_grid()->set_process_name(request.header().process_name());
    while (reader->Read(&request)) {
      *response->mutable_grid()->add_cells() = request.frame().info();
    }
    response->set_jpeg("grid");
    return grpc::Status::OK;
  }
};

// Tells a step, waits while it is held, and tells another.
class FakeProber : public SourceProber {
 public:
  absl::Status Probe(const ProbeTarget& target, const StepSink& on_step,
                     const std::function<bool()>& cancelled) override {
    {
      absl::MutexLock lock(&mu_);
      urls_.push_back(target.url.Full());
    }
    Tell(on_step, v1::PROBE_STEP_DNS, true);
    while (held_ && !cancelled()) {
      Clock::Real().SleepFor(absl::Milliseconds(2));
    }
    ++ended_;
    if (cancelled()) return absl::CancelledError("the caller has gone");
    Tell(on_step, v1::PROBE_STEP_TCP, false);
    return absl::OkStatus();
  }

  void Hold(bool held) { held_ = held; }
  int ended() const { return ended_; }
  std::vector<std::string> urls() {
    absl::MutexLock lock(&mu_);
    return urls_;
  }

 private:
  static void Tell(const StepSink& on_step, v1::ProbeStep step, bool ok) {
    v1::ProbeSourceResponse response;
    response.set_step(step);
    response.set_ok(ok);
    on_step(std::move(response));
  }

  std::atomic<bool> held_ = false;
  std::atomic<int> ended_ = 0;
  absl::Mutex mu_;
  std::vector<std::string> urls_ ABSL_GUARDED_BY(mu_);
};

// The capture service with real gRPC to all sides, and a worker without
// cameras.
class CaptureServiceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(),
                             &peer_port_);
    builder.RegisterService(&inference_);
    builder.RegisterService(&aggregator_);
    peers_ = builder.BuildAndStart();
    ASSERT_NE(peers_, nullptr);
    options_.sender.queue.backoff = {absl::Milliseconds(10),
                                     absl::Milliseconds(50)};
    options_.sender.queue.slow_retry = absl::Milliseconds(200);
    options_.housekeeping_interval = absl::Milliseconds(20);
    Start();
  }

  void TearDown() override {
    Stop();
    peers_->Shutdown();
  }

  void Start() {
    options_.session.data_dir = dir_.path();
    store_ = StreamStore::Open({.data_dir = dir_.path()}).value();
    exporter_ = MetricsExporter::Create("").value();
    metrics_ = std::make_unique<CaptureMetrics>(*exporter_, true);
    const std::string peers = absl::StrCat("127.0.0.1:", peer_port_);
    inference_client_ = MakeInferenceClient(peers);
    aggregator_client_ =
        MakeAggregatorClient(aggregator_away_ ? "127.0.0.1:1" : peers);
    supervisor_ = std::make_unique<StreamSupervisor>(
        options_, *store_, *inference_client_, *aggregator_client_,
        metrics_.get(), Clock::Real());
    worker_ = std::make_unique<FakeWorker>();
    worker_->SetSink([s = supervisor_.get()](const v1::FromWorker& event) {
      s->OnEvent(event);
    });
    ASSERT_THAT(supervisor_->Start(*worker_), IsOk());
    metrics_->Attach(*supervisor_);
    service_ = std::make_unique<CaptureGrpcService>(
        service_options_, *supervisor_, prober_, metrics_.get());
    server_ = GrpcServer::Start({.listen = "127.0.0.1:0"}, {service_.get()},
                                {"camherd.v1.CaptureService"})
                  .value();
    server_->SetServing(true);
    stub_ = v1::CaptureService::NewStub(MakeChannel(server_->address()));
  }

  void Stop() {
    server_->Stop(absl::Seconds(1));
    service_->Stop();
    supervisor_->Shutdown();
    metrics_->Detach();
    supervisor_.reset();
    ExpectStoreAgrees(*store_, dir_.path());
    store_.reset();
  }

  template <typename Request, typename Response>
  absl::Status Call(grpc::Status (v1::CaptureService::Stub::*method)(
                        grpc::ClientContext*, const Request&, Response*),
                    const Request& request, Response* response) {
    grpc::ClientContext context;
    SetDeadline(context, absl::Seconds(10));
    return FromGrpcStatus((stub_.get()->*method)(&context, request, response),
                          &context);
  }

  absl::Status StartStream(const std::string& model, v1::Stream* stream) {
    v1::StartStreamRequest request;
    request.set_rtsp_url("rtsp://user:hunter2@192.0.2.1/demo");
    request.set_batch_size(5);
    if (!model.empty()) request.add_models(model);
    v1::StartStreamResponse response;
    absl::Status status =
        Call(&v1::CaptureService::Stub::StartStream, request, &response);
    *stream = response.stream();
    return status;
  }

  v1::Stream Get() {
    v1::GetStreamRequest request;
    request.set_stream("demo");
    v1::Stream stream;
    EXPECT_THAT(Call(&v1::CaptureService::Stub::GetStream, request, &stream),
                IsOk());
    ExpectIdentities(stream.accounting());
    return stream;
  }

  void Take(const v1::Stream& stream, int count) {
    for (int i = 0; i < count; ++i) {
      worker_->Take(stream.stream_id(), ++luma_, absl::UnixEpoch(),
                    std::string(20000, static_cast<char>('a' + i % 26)));
    }
  }

  bool AwaitSettled() {
    return Eventually([&] { return Get().accounting().spooled() == 0; });
  }

  TempDir dir_;
  double luma_ = 0;
  bool aggregator_away_ = false;
  int peer_port_ = 0;
  InferenceFake inference_;
  AggregatorFake aggregator_;
  std::unique_ptr<grpc::Server> peers_;
  StreamSupervisor::Options options_;
  CaptureGrpcService::Options service_options_;
  FakeProber prober_;
  std::unique_ptr<StreamStore> store_;
  std::unique_ptr<MetricsExporter> exporter_;
  std::unique_ptr<CaptureMetrics> metrics_;
  std::unique_ptr<InferencePeer> inference_client_;
  std::unique_ptr<AggregatorPeer> aggregator_client_;
  std::unique_ptr<StreamSupervisor> supervisor_;
  std::unique_ptr<FakeWorker> worker_;
  std::unique_ptr<CaptureGrpcService> service_;
  std::unique_ptr<GrpcServer> server_;
  std::unique_ptr<v1::CaptureService::Stub> stub_;
};

struct Outcome {
  std::string name;
  absl::Status answer;
  // What becomes of a batch that is answered so once.
  int attempts;
  int recorded;
  std::string dropped;
};

class OutcomeTest : public CaptureServiceTest,
                    public ::testing::WithParamInterface<Outcome> {};

TEST_P(OutcomeTest, IsTreatedAsTheTableSays) {
  const Outcome& outcome = GetParam();
  inference_.AnswerNext({outcome.answer}, false);
  v1::Stream stream;
  ASSERT_THAT(StartStream("animals", &stream), IsOk());
  Take(stream, 5);
  ASSERT_TRUE(AwaitSettled());
  const v1::Accounting accounting = Get().accounting();
  EXPECT_EQ(inference_.attempts(), outcome.attempts);
  EXPECT_EQ(accounting.recorded(), outcome.recorded);
  EXPECT_EQ(accounting.dropped_size(), outcome.dropped.empty() ? 0 : 1);
  if (!outcome.dropped.empty()) {
    EXPECT_EQ(accounting.dropped().at(outcome.dropped), 5);
  }
  // The next one is not held up.
  Take(stream, 5);
  ASSERT_TRUE(AwaitSettled());
  EXPECT_EQ(Get().accounting().recorded(), outcome.recorded + 5);
}

INSTANTIATE_TEST_SUITE_P(
    All, OutcomeTest,
    ::testing::Values(
        Outcome{"Ok", absl::OkStatus(), 1, 5, ""},
        Outcome{"Unavailable",
                WithRetryDelay(absl::UnavailableError("model is loading"),
                               absl::Milliseconds(20)),
                2, 5, ""},
        Outcome{"ResourceExhausted",
                WithRetryDelay(absl::ResourceExhaustedError("full"),
                               absl::Milliseconds(20)),
                2, 5, ""},
        Outcome{"FailedPrecondition",
                absl::FailedPreconditionError("all models are FAILED"), 2, 5,
                ""},
        Outcome{"Internal", absl::InternalError("bug"), 2, 5, ""},
        Outcome{"DataLoss", absl::DataLossError("no JPEG"), 1, 0,
                "model_error"},
        Outcome{"InvalidArgument", absl::InvalidArgumentError("bad"), 1, 0,
                "model_error"},
        Outcome{"AlreadyExists", absl::AlreadyExistsError("digest"), 1, 0,
                "conflict"}),
    [](const auto& test) { return test.param.name; });

TEST_F(CaptureServiceTest, ALostAnswerIsSentAgainByteByByteAndRecordedOnce) {
  inference_.AnswerNext({absl::UnavailableError("lost")}, true);
  v1::Stream stream;
  ASSERT_THAT(StartStream("animals", &stream), IsOk());
  Take(stream, 5);
  ASSERT_TRUE(AwaitSettled());
  EXPECT_EQ(inference_.attempts(), 2);
  EXPECT_EQ(inference_.records(), 1u);
  EXPECT_EQ(Get().accounting().recorded(), 5);
  const auto headers = inference_.headers();
  EXPECT_EQ(headers[0], headers[1]);
}

TEST_F(CaptureServiceTest, AWholeBatchWithoutEffectMayStillBeDropped) {
  inference_.AnswerNext(
      {WithoutEffect(WithRetryDelay(absl::UnavailableError("model is loading"),
                                    absl::Minutes(10)))},
      true);
  v1::Stream stream;
  ASSERT_THAT(StartStream("animals", &stream), IsOk());
  Take(stream, 5);
  ASSERT_TRUE(Eventually([&] { return !Get().sending_reason().empty(); }));
  const auto droppable = store_->OldestDroppable("", 10);
  ASSERT_THAT(droppable, IsOk());
  EXPECT_EQ(droppable->size(), 1u);
}

TEST_F(CaptureServiceTest, ABatchWhoseAnswerWasLostMayNotBeDropped) {
  inference_.AnswerNext(
      {WithRetryDelay(absl::UnavailableError("lost"), absl::Minutes(10))},
      true);
  v1::Stream stream;
  ASSERT_THAT(StartStream("animals", &stream), IsOk());
  Take(stream, 5);
  ASSERT_TRUE(Eventually([&] { return !Get().sending_reason().empty(); }));
  const auto droppable = store_->OldestDroppable("", 10);
  ASSERT_THAT(droppable, IsOk());
  EXPECT_EQ(droppable->size(), 0u);
}

TEST_F(CaptureServiceTest, APictureNoPeerTakesIsDroppedWithItsBatch) {
  v1::Stream stream;
  ASSERT_THAT(StartStream("animals", &stream), IsOk());
  Take(stream, 4);
  worker_->Take(stream.stream_id(), ++luma_, absl::UnixEpoch(),
                std::string(20 << 20, 'x'));
  ASSERT_TRUE(AwaitSettled());
  EXPECT_EQ(Get().accounting().dropped().at("model_error"), 5);
  Take(stream, 5);
  ASSERT_TRUE(AwaitSettled());
  EXPECT_EQ(Get().accounting().recorded(), 5);
}

TEST_F(CaptureServiceTest, ARestartSendsWhatTheSpoolHolds) {
  inference_.AnswerNext(
      std::vector<absl::Status>(1000, absl::UnavailableError("lost")), true);
  v1::Stream stream;
  ASSERT_THAT(StartStream("animals", &stream), IsOk());
  Take(stream, 7);
  ASSERT_TRUE(Eventually([&] { return inference_.attempts() > 0; }));
  Stop();
  inference_.AnswerNext({}, false);
  Start();
  ASSERT_TRUE(AwaitSettled());
  EXPECT_EQ(Get().accounting().recorded(), 7);
  EXPECT_EQ(inference_.records(), 2u);
  EXPECT_EQ(Get().stream_id(), stream.stream_id());
}

TEST_F(CaptureServiceTest, AnUnknownModelIsAnsweredWithThoseThereAre) {
  v1::Stream stream;
  const absl::Status status = StartStream("unicorns", &stream);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(),
            "model_name must be one of [animals, broken], got \"unicorns\"");
}

TEST_F(CaptureServiceTest, AFailedModelIsAnsweredWithItsReason) {
  v1::Stream stream;
  const absl::Status status = StartStream("broken", &stream);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("put weights.pt there"));
  EXPECT_EQ(worker_->running(), 0u);
}

TEST_F(CaptureServiceTest, WithoutInferenceAStreamWithAModelDoesNotStart) {
  peers_->Shutdown();
  v1::Stream stream;
  EXPECT_EQ(StartStream("animals", &stream).code(),
            absl::StatusCode::kUnavailable);
  EXPECT_THAT(StartStream("", &stream), IsOk());
}

TEST_F(CaptureServiceTest, StopAnswersTheGridOfTheNine) {
  v1::Stream stream;
  ASSERT_THAT(StartStream("", &stream), IsOk());
  Take(stream, 12);
  v1::StopStreamRequest request;
  request.set_stream("demo");
  v1::StopStreamResponse response;
  ASSERT_THAT(Call(&v1::CaptureService::Stub::StopStream, request, &response),
              IsOk());
  EXPECT_EQ(response.grid_jpeg(), "grid");
  ASSERT_EQ(response.grid().cells_size(), 9);
  EXPECT_EQ(response.grid().cells(0).mean_luma(), 12);
  EXPECT_EQ(response.grid().cells(8).mean_luma(), 4);
  EXPECT_EQ(response.stream().state(), v1::STREAM_STATE_STOPPED);
}

TEST_F(CaptureServiceTest, TheCellsOfAGridAreToldWithoutTheAggregator) {
  Stop();
  aggregator_away_ = true;
  Start();
  v1::Stream stream;
  ASSERT_THAT(StartStream("", &stream), IsOk());
  v1::GetGridRequest request;
  request.set_stream("demo");
  request.set_cells_only(true);
  v1::GetGridResponse response;
  ASSERT_THAT(Call(&v1::CaptureService::Stub::GetGrid, request, &response),
              IsOk());
  EXPECT_EQ(response.grid().cells_size(), 0);
  Take(stream, 12);
  ASSERT_THAT(Call(&v1::CaptureService::Stub::GetGrid, request, &response),
              IsOk());
  ASSERT_EQ(response.grid().cells_size(), 9);
  EXPECT_EQ(response.grid().cells(0).mean_luma(), 12);
  EXPECT_EQ(response.grid().cells(8).mean_luma(), 4);
  EXPECT_TRUE(response.grid().cells(0).has_captured_at());
  EXPECT_EQ(response.grid().process_name(), "demo");
  EXPECT_EQ(response.jpeg(), "");
}

TEST_F(CaptureServiceTest, StopAnswersWithin5SecondsWithoutTheAggregator) {
  Stop();
  aggregator_away_ = true;
  Start();
  v1::Stream stream;
  ASSERT_THAT(StartStream("", &stream), IsOk());
  Take(stream, 9);
  worker_->SetAnswersRevoke(false);
  const absl::Duration start = Clock::Real().SteadyNow();
  v1::StopStreamRequest request;
  request.set_stream("demo");
  v1::StopStreamResponse response;
  ASSERT_THAT(Call(&v1::CaptureService::Stub::StopStream, request, &response),
              IsOk());
  EXPECT_LT(Clock::Real().SteadyNow() - start, absl::Seconds(5));
  EXPECT_FALSE(response.has_grid());
  EXPECT_THAT(response.grid_reason(), HasSubstr("UNAVAILABLE"));
}

TEST_F(CaptureServiceTest, ALeaseThatEndsWithoutTheAggregatorHasItsGridLater) {
  Stop();
  aggregator_away_ = true;
  Start();
  v1::StartStreamRequest request;
  request.set_rtsp_url("rtsp://192.0.2.1/demo");
  request.set_max_frames(12);
  v1::StartStreamResponse started;
  ASSERT_THAT(Call(&v1::CaptureService::Stub::StartStream, request, &started),
              IsOk());
  worker_->SetAnswersRevoke(false);
  Take(started.stream(), 14);
  ASSERT_TRUE(Eventually([&] { return !Get().desired_running(); }));
  worker_->End(started.stream().stream_id());
  ASSERT_TRUE(
      Eventually([&] { return Get().state() == v1::STREAM_STATE_STOPPED; }));
  EXPECT_EQ(Get().state_reason(), "it captured its 12 frames");
  EXPECT_EQ(Get().accounting().captured(), 12);
  Stop();
  aggregator_away_ = false;
  Start();
  v1::GetGridRequest ask;
  ask.set_stream("demo");
  v1::GetGridResponse grid;
  // What StopStream keeps; GetGrid alone would keep none.
  ASSERT_TRUE(Eventually(
      [&] { return store_->LoadStreams()->front().grid.has_value(); }));
  ASSERT_THAT(Call(&v1::CaptureService::Stub::GetGrid, ask, &grid), IsOk());
  EXPECT_EQ(grid.jpeg(), "grid");
  EXPECT_EQ(grid.grid().cells(0).mean_luma(), 12);
}

TEST_F(CaptureServiceTest, ACallWhoseCallerHasGoneIsNotRun) {
  Stop();
  service_options_.threads = 1;
  Start();
  v1::Stream stream;
  ASSERT_THAT(StartStream("", &stream), IsOk());
  worker_->SetAnswersRevoke(false);
  // Holds the only thread for stop_timeout.
  std::thread stopping([&] {
    v1::StopStreamRequest stop;
    stop.set_stream("demo");
    v1::StopStreamResponse stopped;
    EXPECT_THAT(Call(&v1::CaptureService::Stub::StopStream, stop, &stopped),
                IsOk());
  });
  v1::GetStreamRequest get;
  get.set_stream("demo");
  EXPECT_TRUE(Eventually(
      [&] { return !supervisor_->GetStream(get)->desired_running(); }));
  v1::StartStreamRequest request;
  request.set_rtsp_url("rtsp://192.0.2.1/other");
  v1::StartStreamResponse response;
  grpc::ClientContext context;
  SetDeadline(context, absl::Milliseconds(100));
  EXPECT_EQ(stub_->StartStream(&context, request, &response).error_code(),
            grpc::StatusCode::DEADLINE_EXCEEDED);
  stopping.join();
  // Answered after the one that was given up, by the same thread.
  Get();
  EXPECT_EQ(supervisor_->ListStreams({})->streams_size(), 1);
}

// One ProbeSource; its steps as they come.
class ProbeCall {
 public:
  explicit ProbeCall(v1::CaptureService::Stub& stub, const std::string& url =
                                                         "rtsp://u:hunter2@"
                                                         "192.0.2.1/demo") {
    SetDeadline(context_, absl::Seconds(10));
    v1::ProbeSourceRequest request;
    request.set_rtsp_url(url);
    reader_ = stub.ProbeSource(&context_, request);
  }
  // The next step; UNSPECIFIED: there is none.
  v1::ProbeStep Read() {
    v1::ProbeSourceResponse step;
    return reader_->Read(&step) ? step.step() : v1::PROBE_STEP_UNSPECIFIED;
  }
  absl::Status Finish() { return FromGrpcStatus(reader_->Finish(), &context_); }
  void Cancel() { context_.TryCancel(); }

 private:
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReader<v1::ProbeSourceResponse>> reader_;
};

TEST_F(CaptureServiceTest, AProbeAnswersEachStepAsItComes) {
  prober_.Hold(true);
  ProbeCall call(*stub_);
  EXPECT_EQ(call.Read(), v1::PROBE_STEP_DNS);
  EXPECT_EQ(prober_.ended(), 0);
  prober_.Hold(false);
  EXPECT_EQ(call.Read(), v1::PROBE_STEP_TCP);
  EXPECT_EQ(call.Read(), v1::PROBE_STEP_UNSPECIFIED);
  // That a step failed is no failure of the call.
  EXPECT_THAT(call.Finish(), IsOk());
  EXPECT_THAT(prober_.urls(), ElementsAre("rtsp://u:hunter2@192.0.2.1/demo"));
}

TEST_F(CaptureServiceTest, AProbeIsCheckedAsAStartIs) {
  for (const char* url : {"", "http://u:hunter2@h/a", "rtsp:///a"}) {
    v1::StartStreamRequest start;
    start.set_rtsp_url(url);
    v1::StartStreamResponse response;
    const absl::Status of_start =
        Call(&v1::CaptureService::Stub::StartStream, start, &response);
    ProbeCall call(*stub_, url);
    EXPECT_EQ(call.Read(), v1::PROBE_STEP_UNSPECIFIED);
    const absl::Status of_probe = call.Finish();
    EXPECT_EQ(of_probe.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(of_probe, of_start);
    EXPECT_THAT(std::string(of_probe.message()), Not(HasSubstr("hunter2")));
  }
  EXPECT_TRUE(prober_.urls().empty());
}

TEST_F(CaptureServiceTest, OnlySoManyProbesRunAtOnce) {
  Stop();
  service_options_.probes = 2;
  Start();
  prober_.Hold(true);
  ProbeCall first(*stub_);
  ProbeCall second(*stub_);
  EXPECT_EQ(first.Read(), v1::PROBE_STEP_DNS);
  EXPECT_EQ(second.Read(), v1::PROBE_STEP_DNS);
  {
    ProbeCall third(*stub_);
    EXPECT_EQ(third.Read(), v1::PROBE_STEP_UNSPECIFIED);
    const absl::Status status = third.Finish();
    EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
    EXPECT_THAT(std::string(status.message()), HasSubstr("max_probes (2)"));
    EXPECT_TRUE(RetryDelay(status).has_value());
  }
  prober_.Hold(false);
  for (ProbeCall* call : {&first, &second}) {
    EXPECT_EQ(call->Read(), v1::PROBE_STEP_TCP);
    EXPECT_THAT(call->Finish(), IsOk());
  }
  ProbeCall fourth(*stub_);
  EXPECT_EQ(fourth.Read(), v1::PROBE_STEP_DNS);
  EXPECT_EQ(fourth.Read(), v1::PROBE_STEP_TCP);
  EXPECT_THAT(fourth.Finish(), IsOk());
}

TEST_F(CaptureServiceTest, AProbeEndsWhenItsCallerGoes) {
  prober_.Hold(true);
  ProbeCall call(*stub_);
  EXPECT_EQ(call.Read(), v1::PROBE_STEP_DNS);
  call.Cancel();
  EXPECT_TRUE(Eventually([&] { return prober_.ended() == 1; }));
  EXPECT_EQ(call.Finish().code(), absl::StatusCode::kCancelled);
}

TEST_F(CaptureServiceTest, AStopCutsOffAProbe) {
  prober_.Hold(true);
  ProbeCall call(*stub_);
  EXPECT_EQ(call.Read(), v1::PROBE_STEP_DNS);
  Stop();
  EXPECT_EQ(prober_.ended(), 1);
  Start();
}

TEST_F(CaptureServiceTest, AWatchTellsOfAStreamFromItsStartToItsEnd) {
  v1::WatchStreamsResponse event;
  std::string token;
  {
    grpc::ClientContext context;
    SetDeadline(context, absl::Seconds(20));
    const auto watch = stub_->WatchStreams(&context, v1::WatchStreamsRequest());
    // Caught up.
    ASSERT_TRUE(watch->Read(&event));
    EXPECT_FALSE(event.has_stream());
    v1::Stream stream;
    ASSERT_THAT(StartStream("", &stream), IsOk());
    ASSERT_TRUE(watch->Read(&event));
    EXPECT_EQ(event.stream().stream_id(), stream.stream_id());
    EXPECT_EQ(event.stream().state(), v1::STREAM_STATE_STARTING);
    EXPECT_THAT(event.DebugString(), Not(HasSubstr("hunter2")));
    token = event.resume_token();
    context.TryCancel();
    watch->Finish().error_code();
  }
  // Nobody watches, and yet who comes back hears of it.
  v1::StopStreamRequest stop;
  stop.set_stream(event.stream().stream_id());
  v1::StopStreamResponse stopped;
  ASSERT_THAT(Call(&v1::CaptureService::Stub::StopStream, stop, &stopped),
              IsOk());
  v1::DeleteStreamRequest forget;
  forget.set_stream(stop.stream());
  v1::DeleteStreamResponse forgotten;
  ASSERT_THAT(Call(&v1::CaptureService::Stub::DeleteStream, forget, &forgotten),
              IsOk());
  grpc::ClientContext context;
  SetDeadline(context, absl::Seconds(20));
  v1::WatchStreamsRequest request;
  request.set_resume_token(token);
  const auto watch = stub_->WatchStreams(&context, request);
  bool told_of_end = false;
  do {
    ASSERT_TRUE(watch->Read(&event));
    EXPECT_FALSE(event.reset());
    EXPECT_NE(event.resume_token(), token);
    told_of_end = told_of_end || (event.has_stream() && !event.deleted() &&
                                  !event.stream().desired_running());
  } while (!event.deleted());
  EXPECT_TRUE(told_of_end);
  EXPECT_EQ(event.stream().stream_id(), stop.stream());
  supervisor_->StopWatches();
  while (watch->Read(&event)) {
  }
  EXPECT_EQ(watch->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(CaptureServiceTest, NoAnswerHoldsThePassword) {
  v1::Stream stream;
  ASSERT_THAT(StartStream("", &stream), IsOk());
  EXPECT_THAT(stream.DebugString(), Not(HasSubstr("hunter2")));
  v1::ListStreamsResponse list;
  ASSERT_THAT(Call(&v1::CaptureService::Stub::ListStreams,
                   v1::ListStreamsRequest(), &list),
              IsOk());
  EXPECT_EQ(list.streams_size(), 1);
  EXPECT_THAT(list.DebugString(), Not(HasSubstr("hunter2")));
}

}  // namespace
}  // namespace camherd::capture
