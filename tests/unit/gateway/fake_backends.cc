// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/gateway/fake_backends.h"

#include <grpcpp/ext/health_check_service_server_builder_option.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/server_builder.h>

#include <algorithm>
#include <atomic>
#include <type_traits>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "services/common/clock.h"
#include "services/common/grpc_status.h"
#include "services/common/grpc_watch.h"

namespace camherd::gateway {
namespace {

// Leaves the page that was asked for; as the real service's, its token names
// its last item.
template <typename Request, typename Response, typename Items, typename NameOf>
void CutToPage(const Request& request, Response* response, Items* items,
               const NameOf& name_of) {
  for (int i = 0; !request.page_token().empty() && i < items->size(); ++i) {
    if (name_of(items->Get(i)) != request.page_token()) continue;
    items->erase(items->begin(), items->begin() + i + 1);
    break;
  }
  if (request.page_size() == 0 || items->size() <= request.page_size()) return;
  items->erase(items->begin() + request.page_size(), items->end());
  response->set_next_page_token(name_of(items->Get(items->size() - 1)));
}

}  // namespace

class FakeBackends::Capture
    : public v1::CaptureService::WithCallbackMethod_WatchStreams<
          v1::CaptureService::Service> {
 public:
  explicit Capture(FakeBackends& fake) : fake_(fake) {}

  grpc::ServerWriteReactor<v1::WatchStreamsResponse>* WatchStreams(
      grpc::CallbackServerContext* context,
      const v1::WatchStreamsRequest* request) override {
    return GrpcWatch<v1::WatchStreamsResponse>::Start(context, fake_.streams(),
                                                      *request);
  }

  grpc::Status StartStream(grpc::ServerContext* context,
                           const v1::StartStreamRequest* request,
                           v1::StartStreamResponse* response) override {
    *response = fake_.answers.start;
    return fake_.Took(*request, context);
  }
  grpc::Status StopStream(grpc::ServerContext* context,
                          const v1::StopStreamRequest* request,
                          v1::StopStreamResponse* response) override {
    *response = fake_.answers.stop;
    return fake_.Took(*request, context);
  }
  grpc::Status GetStream(grpc::ServerContext* context,
                         const v1::GetStreamRequest* request,
                         v1::Stream* response) override {
    *response = fake_.answers.stream;
    return fake_.Took(*request, context);
  }
  // Answers although everything else fails: /stop lists what runs. A page token
  // is the position of the next stream.
  grpc::Status ListStreams(grpc::ServerContext* context,
                           const v1::ListStreamsRequest* request,
                           v1::ListStreamsResponse* response) override {
    const v1::ListStreamsResponse& all = fake_.answers.streams;
    const int page =
        std::min(request->page_size() > 0 ? request->page_size() : 100,
                 fake_.answers.max_streams_page);
    int at = 0;
    if (!request->page_token().empty() &&
        !absl::SimpleAtoi(request->page_token(), &at)) {
      return {grpc::INVALID_ARGUMENT, "page_token"};
    }
    for (; at < all.streams_size(); ++at) {
      const v1::Stream& stream = all.streams(at);
      if (request->states_size() > 0 &&
          std::count(request->states().begin(), request->states().end(),
                     stream.state()) == 0) {
        continue;
      }
      if (response->streams_size() == page) {
        response->set_next_page_token(absl::StrCat(at));
        break;
      }
      *response->add_streams() = stream;
    }
    const grpc::Status status = fake_.Took(*request, context);
    return status.error_code() == grpc::NOT_FOUND ? grpc::Status() : status;
  }
  grpc::Status UpdateStream(grpc::ServerContext* context,
                            const v1::UpdateStreamRequest* request,
                            v1::Stream* response) override {
    *response = fake_.answers.stream;
    return fake_.Took(*request, context);
  }
  grpc::Status DeleteStream(grpc::ServerContext* context,
                            const v1::DeleteStreamRequest* request,
                            v1::DeleteStreamResponse*) override {
    return fake_.Took(*request, context);
  }
  grpc::Status GetLatestFrame(grpc::ServerContext* context,
                              const v1::GetLatestFrameRequest* request,
                              v1::GetLatestFrameResponse* response) override {
    const grpc::Status status = fake_.Took(*request, context);
    absl::MutexLock lock(&fake_.mu_);
    if (!fake_.frame_set_) {
      *response = fake_.answers.frame;
    } else if (fake_.frame_.has_value()) {
      *response = *fake_.frame_;
    } else if (status.ok()) {
      return {grpc::NOT_FOUND, "there is no sample yet"};
    }
    return status;
  }
  grpc::Status GetGrid(grpc::ServerContext* context,
                       const v1::GetGridRequest* request,
                       v1::GetGridResponse* response) override {
    *response = fake_.answers.grid;
    return fake_.Took(*request, context);
  }
  grpc::Status ProbeSource(
      grpc::ServerContext* context, const v1::ProbeSourceRequest* request,
      grpc::ServerWriter<v1::ProbeSourceResponse>* writer) override {
    for (const v1::ProbeSourceResponse& step : fake_.answers.probe) {
      writer->Write(step);
    }
    return fake_.Took(*request, context);
  }

 private:
  FakeBackends& fake_;
};

class FakeBackends::Inference
    : public v1::InferenceService::WithCallbackMethod_WatchModels<
          v1::InferenceService::Service> {
 public:
  explicit Inference(FakeBackends& fake) : fake_(fake) {}

  grpc::ServerWriteReactor<v1::WatchModelsResponse>* WatchModels(
      grpc::CallbackServerContext* context,
      const v1::WatchModelsRequest* request) override {
    return GrpcWatch<v1::WatchModelsResponse>::Start(context, fake_.models(),
                                                     *request);
  }

  grpc::Status ListModels(grpc::ServerContext* context,
                          const v1::ListModelsRequest* request,
                          v1::ListModelsResponse* response) override {
    *response = fake_.answers.models;
    return fake_.Took(*request, context);
  }
  grpc::Status GetModel(grpc::ServerContext* context,
                        const v1::GetModelRequest* request,
                        v1::Model* response) override {
    *response = fake_.answers.model;
    return fake_.Took(*request, context);
  }
  grpc::Status PrepareModel(
      grpc::ServerContext* context, const v1::PrepareModelRequest* request,
      grpc::ServerWriter<v1::PrepareModelResponse>* writer) override {
    const grpc::Status status = fake_.Took(*request, context);
    if (!status.ok()) return status;
    v1::PrepareModelResponse response;
    *response.mutable_model() = fake_.answers.model;
    writer->Write(response);
    // The real one goes on reporting until the caller has gone.
    while (!context->IsCancelled()) {
      Clock::Real().SleepFor(absl::Milliseconds(2));
    }
    return grpc::Status::CANCELLED;
  }
  grpc::Status UnloadModel(grpc::ServerContext* context,
                           const v1::UnloadModelRequest* request,
                           v1::Model* response) override {
    *response = fake_.answers.model;
    return fake_.Took(*request, context);
  }
  grpc::Status Detect(grpc::ServerContext* context,
                      const v1::DetectRequest* request,
                      v1::DetectResponse* response) override {
    *response = fake_.answers.detect;
    return fake_.Took(*request, context);
  }

 private:
  FakeBackends& fake_;
};

class FakeBackends::Aggregator
    : public v1::AggregatorService::WithCallbackMethod_WatchRecords<
          v1::AggregatorService::Service> {
 public:
  explicit Aggregator(FakeBackends& fake) : fake_(fake) {}

  grpc::ServerWriteReactor<v1::WatchRecordsResponse>* WatchRecords(
      grpc::CallbackServerContext* context,
      const v1::WatchRecordsRequest* request) override {
    return GrpcWatch<v1::WatchRecordsResponse>::Start(context, fake_.records(),
                                                      *request);
  }

  grpc::Status ListRecords(grpc::ServerContext* context,
                           const v1::ListRecordsRequest* request,
                           v1::ListRecordsResponse* response) override {
    const bool later = asked_for_records_.exchange(true);
    *response =
        later ? fake_.answers.later_records.value_or(fake_.answers.records)
              : fake_.answers.records;
    return fake_.Took(*request, context);
  }
  grpc::Status GetRecord(grpc::ServerContext* context,
                         const v1::GetRecordRequest* request,
                         v1::Record* response) override {
    *response = fake_.answers.record;
    return fake_.Took(*request, context);
  }
  grpc::Status GetRecordImage(grpc::ServerContext* context,
                              const v1::GetRecordImageRequest* request,
                              v1::GetRecordImageResponse* response) override {
    *response = fake_.answers.image;
    return fake_.Took(*request, context);
  }
  grpc::Status ExportRecords(
      grpc::ServerContext* context, const v1::ExportRecordsRequest* request,
      grpc::ServerWriter<v1::ExportRecordsResponse>* writer) override {
    grpc::Status status = fake_.Took(*request, context);
    if (!status.ok()) return status;
    const Answers& answers = fake_.answers;
    v1::ExportRecordsResponse piece;
    const auto send = [&] {
      if (!writer->Write(piece)) return false;
      ++fake_.export_pieces_sent_;
      return true;
    };
    bool open = true;
    for (const std::string& chunk : answers.export_pieces) {
      piece.set_chunk(chunk);
      open = open && send();
    }
    while (answers.export_endless && open) open = send();
    if (!open || context->IsCancelled()) ++fake_.exports_cancelled_;
    return ToGrpcStatus(answers.export_end, context);
  }
  grpc::Status ListGrids(grpc::ServerContext* context,
                         const v1::ListGridsRequest* request,
                         v1::ListGridsResponse* response) override {
    *response = fake_.answers.grids;
    CutToPage(*request, response, response->mutable_grids(),
              [](const v1::Grid& grid) { return grid.session_id(); });
    return fake_.Took(*request, context);
  }
  grpc::Status ListCameras(grpc::ServerContext* context,
                           const v1::ListCamerasRequest* request,
                           v1::ListCamerasResponse* response) override {
    *response = fake_.answers.cameras;
    CutToPage(*request, response, response->mutable_cameras(),
              [](const v1::Camera& camera) { return camera.camera_id(); });
    return fake_.Took(*request, context);
  }
  grpc::Status GetCamera(grpc::ServerContext* context,
                         const v1::GetCameraRequest* request,
                         v1::Camera* response) override {
    *response = fake_.answers.camera;
    return fake_.Took(*request, context);
  }
  grpc::Status UpsertCamera(grpc::ServerContext* context,
                            const v1::UpsertCameraRequest* request,
                            v1::Camera* response) override {
    *response = fake_.answers.camera;
    return fake_.Took(*request, context);
  }
  grpc::Status ImportCameras(grpc::ServerContext* context,
                             const v1::ImportCamerasRequest* request,
                             v1::ImportCamerasResponse* response) override {
    *response = fake_.answers.imported;
    return fake_.Took(*request, context);
  }

 private:
  FakeBackends& fake_;
  std::atomic<bool> asked_for_records_ = false;
};

FakeBackends::FakeBackends()
    : capture_(std::make_unique<Capture>(*this)),
      inference_(std::make_unique<Inference>(*this)),
      aggregator_(std::make_unique<Aggregator>(*this)) {
  RestartEvents();
  grpc::EnableDefaultHealthCheckService(true);
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(),
                           &port_);
  builder.SetMaxReceiveMessageSize(20 << 20);
  builder.RegisterService(capture_.get());
  builder.RegisterService(inference_.get());
  builder.RegisterService(aggregator_.get());
  server_ = builder.BuildAndStart();
  SetServing(true);
}

FakeBackends::~FakeBackends() { Shutdown(); }

void FakeBackends::Shutdown() {
  Hang(false);
  streams_.load()->Close();
  records_.load()->Close();
  models_.load()->Close();
  if (server_ != nullptr) {
    server_->Shutdown(absl::ToChronoTime(Clock::Real().Now()));
    server_->Wait();
    server_.reset();
  }
}

void FakeBackends::RestartEvents() {
  const auto restart = [](auto& all, auto& current, size_t capacity) {
    using Ring = typename std::decay_t<decltype(all)>::value_type::element_type;
    all.push_back(std::make_unique<Ring>(capacity));
    if (Ring* const old = current.exchange(all.back().get()); old != nullptr) {
      old->Close();
    }
  };
  restart(all_streams_, streams_, 16);
  restart(all_records_, records_, 16);
  restart(all_models_, models_, 16);
}

BackendClients::Options FakeBackends::ClientOptions() const {
  const std::string target = absl::StrCat("127.0.0.1:", port_);
  return {.capture = target, .inference = target, .aggregator = target};
}

void FakeBackends::SetServing(bool serving) {
  server_->GetHealthCheckService()->SetServingStatus(serving);
}

void FakeBackends::FailWith(const absl::Status& status) {
  absl::MutexLock lock(&mu_);
  failure_ = status;
}

void FakeBackends::SetFrame(
    const std::optional<v1::GetLatestFrameResponse>& frame) {
  absl::MutexLock lock(&mu_);
  frame_set_ = true;
  frame_ = frame;
}

void FakeBackends::Hang(bool hang) {
  absl::MutexLock lock(&mu_);
  hang_ = hang;
}

grpc::Status FakeBackends::Took(const google::protobuf::Message& request,
                                grpc::ServerContextBase* context) {
  bool hang = false;
  absl::Status failure;
  {
    absl::MutexLock lock(&mu_);
    requests_.emplace_back(request.GetDescriptor()->full_name(),
                           request.SerializeAsString());
    hang = hang_;
    failure = failure_;
  }
  while (hang && !context->IsCancelled()) {
    Clock::Real().SleepFor(absl::Milliseconds(2));
    absl::MutexLock lock(&mu_);
    hang = hang_;
  }
  return ToGrpcStatus(failure, context);
}

}  // namespace camherd::gateway
