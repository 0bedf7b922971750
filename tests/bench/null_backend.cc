// SPDX-License-Identifier: Apache-2.0
// The services that a bench is not about: an inference service and an
// aggregator that take everything, keep nothing and answer OK.
//
//   camherd_bench_null_backend
//   serving 127.0.0.1:43211
//
// One process and one port for both, so that capture can be run without models
// and inference without a record store, their peers' CPU being counted apart.
// Ends on SIGTERM, or with its parent.

#include <grpcpp/grpcpp.h>
#include <signal.h>
#include <sys/prctl.h>

#include <cstdio>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "camherd/v1/aggregator_service.grpc.pb.h"
#include "camherd/v1/inference_service.grpc.pb.h"
#include "services/common/grpc_server.h"
#include "services/common/service_main.h"

namespace camherd::bench {
namespace {

v1::Model ReadyModel(const std::string& name) {
  v1::Model model;
  model.set_name(name);
  model.set_section(name);
  model.set_complaint_type(name);
  model.set_state(v1::MODEL_STATE_READY);
  model.set_engine("null");
  return model;
}

// Reads a whole InferBatch, then says that every model found nothing.
class BatchReader : public grpc::ServerReadReactor<v1::InferBatchRequest> {
 public:
  explicit BatchReader(v1::InferBatchResponse* response)
      : response_(*response) {
    StartRead(&request_);
  }

  void OnReadDone(bool ok) override {
    if (!ok) {
      response_.set_record_id(1);
      Finish(grpc::Status::OK);
      return;
    }
    if (request_.has_header()) {
      for (const std::string& name : request_.header().manifest().models()) {
        v1::ModelResult& result = *response_.add_results();
        result.set_model(name);
        result.set_outcome(v1::OUTCOME_CODE_OK);
      }
    }
    StartRead(&request_);
  }

  void OnDone() override { delete this; }

 private:
  v1::InferBatchResponse& response_;
  v1::InferBatchRequest request_;
};

class ResultReader : public grpc::ServerReadReactor<v1::AddBatchResultRequest> {
 public:
  explicit ResultReader(v1::AddBatchResultResponse* response)
      : response_(*response) {
    StartRead(&request_);
  }

  void OnReadDone(bool ok) override {
    if (ok) {
      StartRead(&request_);
      return;
    }
    response_.set_record_id(1);
    Finish(grpc::Status::OK);
  }

  void OnDone() override { delete this; }

 private:
  v1::AddBatchResultResponse& response_;
  v1::AddBatchResultRequest request_;
};

// Says READY once.
class ReadyWriter : public grpc::ServerWriteReactor<v1::PrepareModelResponse> {
 public:
  explicit ReadyWriter(const std::string& name) {
    *response_.mutable_model() = ReadyModel(name);
    StartWriteAndFinish(&response_, grpc::WriteOptions(), grpc::Status::OK);
  }

  void OnDone() override { delete this; }

 private:
  v1::PrepareModelResponse response_;
};

// Sends an export without end, as fast as it is taken.
class EndlessWriter
    : public grpc::ServerWriteReactor<v1::ExportRecordsResponse> {
 public:
  EndlessWriter() {
    piece_.set_chunk(std::string(64 << 10, 'x'));
    StartWrite(&piece_);
  }

  void OnWriteDone(bool ok) override {
    if (ok) {
      StartWrite(&piece_);
    } else {
      Finish(grpc::Status::CANCELLED);
    }
  }
  void OnDone() override { delete this; }

 private:
  v1::ExportRecordsResponse piece_;
};

class NullInference : public v1::InferenceService::CallbackService {
 public:
  grpc::ServerReadReactor<v1::InferBatchRequest>* InferBatch(
      grpc::CallbackServerContext* /*context*/,
      v1::InferBatchResponse* response) override {
    return new BatchReader(response);
  }

  grpc::ServerWriteReactor<v1::PrepareModelResponse>* PrepareModel(
      grpc::CallbackServerContext* /*context*/,
      const v1::PrepareModelRequest* request) override {
    return new ReadyWriter(request->name());
  }

  grpc::ServerUnaryReactor* GetModel(grpc::CallbackServerContext* context,
                                     const v1::GetModelRequest* request,
                                     v1::Model* response) override {
    *response = ReadyModel(request->name());
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }
};

class NullAggregator : public v1::AggregatorService::CallbackService {
 public:
  grpc::ServerWriteReactor<v1::ExportRecordsResponse>* ExportRecords(
      grpc::CallbackServerContext* /*context*/,
      const v1::ExportRecordsRequest* /*request*/) override {
    return new EndlessWriter();
  }

  grpc::ServerReadReactor<v1::AddBatchResultRequest>* AddBatchResult(
      grpc::CallbackServerContext* /*context*/,
      v1::AddBatchResultResponse* response) override {
    return new ResultReader(response);
  }

  grpc::ServerUnaryReactor* GetCamera(grpc::CallbackServerContext* context,
                                      const v1::GetCameraRequest* request,
                                      v1::Camera* response) override {
    response->set_camera_id(request->camera_id());
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }
};

int Main() {
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  KeepFreedMemory();
  sigset_t stop_signals;
  sigemptyset(&stop_signals);
  sigaddset(&stop_signals, SIGTERM);
  sigaddset(&stop_signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &stop_signals, nullptr);

  NullInference inference;
  NullAggregator aggregator;
  absl::StatusOr<std::unique_ptr<GrpcServer>> server = GrpcServer::Start(
      {.listen = "127.0.0.1:0"}, {&inference, &aggregator},
      {"camherd.v1.InferenceService", "camherd.v1.AggregatorService"});
  if (!server.ok()) {
    std::fprintf(stderr, "%s\n",
                 std::string(server.status().message()).c_str());
    return 1;
  }
  (*server)->SetServing(true);
  std::printf("serving %s\n", (*server)->address().c_str());
  std::fflush(stdout);
  int signal = 0;
  sigwait(&stop_signals, &signal);
  (*server)->Stop(absl::Seconds(1));
  return 0;
}

}  // namespace
}  // namespace camherd::bench

int main() { return camherd::bench::Main(); }
