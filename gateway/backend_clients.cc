// SPDX-License-Identifier: Apache-2.0
#include "gateway/backend_clients.h"

#include <grpcpp/client_context.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/support/byte_buffer.h>

#include <array>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "camherd/v1/aggregator_service.grpc.pb.h"
#include "camherd/v1/capture_service.grpc.pb.h"
#include "camherd/v1/inference_service.grpc.pb.h"
#include "services/common/grpc_client.h"
#include "services/common/grpc_server.h"
#include "services/common/grpc_status.h"
#include "services/common/status_macros.h"

namespace camherd::gateway {
namespace {

constexpr char kHealthMethod[] = "/grpc.health.v1.Health/Check";

// gRPC's own words for a peer that is not there, instead of a sentence of a
// service.
bool IsTransportError(absl::string_view message) {
  for (const absl::string_view text :
       {"failed to connect to all addresses", "Socket closed",
        "Connection reset", "connections to all backends failing",
        "DNS resolution failed", "empty address list", "Broken pipe", "recvmsg",
        "Connection refused", "GOAWAY"}) {
    if (absl::StrContains(message, text)) return true;
  }
  return false;
}

absl::Status Translate(const grpc::Status& status,
                       const grpc::ClientContext& context,
                       absl::string_view service, absl::Duration timeout) {
  absl::Status result = FromGrpcStatus(status, &context);
  if (absl::IsUnavailable(result) && IsTransportError(result.message())) {
    return absl::UnavailableError(
        absl::StrCat("the ", service, " service cannot be reached"));
  }
  if (absl::IsDeadlineExceeded(result)) {
    return absl::DeadlineExceededError(
        absl::StrCat("the ", service, " service did not answer within ",
                     absl::FormatDuration(timeout)));
  }
  return result;
}

// The status field of grpc.health.v1.HealthCheckResponse, read from its bytes
// since Debian ships no stub for it: `08 01` is SERVING.
bool IsServing(const grpc::ByteBuffer& buffer) {
  std::vector<grpc::Slice> slices;
  if (!buffer.Dump(&slices).ok()) return false;
  std::string bytes;
  for (const grpc::Slice& slice : slices) {
    bytes.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  }
  return bytes == absl::string_view("\x08\x01", 2);
}

// `: ` and why, where the answer of the health service says it.
std::string NotServingReason(const grpc::ClientContext& context) {
  const auto& metadata = context.GetServerTrailingMetadata();
  const auto it = metadata.find(kNotServingReason);
  if (it == metadata.end()) return "";
  return absl::StrCat(": ",
                      absl::string_view(it->second.data(), it->second.size()));
}

}  // namespace

class BackendClients::Impl {
 public:
  explicit Impl(const Options& options)
      : options_(options),
        channels_{MakeChannel(options.capture), MakeChannel(options.inference),
                  MakeChannel(options.aggregator)},
        capture_(v1::CaptureService::NewStub(channels_[0])),
        inference_(v1::InferenceService::NewStub(channels_[1])),
        aggregator_(v1::AggregatorService::NewStub(channels_[2])) {}

  template <typename Response, typename Stub, typename Request>
  absl::StatusOr<Response> Call(
      absl::string_view service, Stub& stub,
      grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&,
                                   Response*),
      const Request& request, absl::Duration timeout) {
    grpc::ClientContext context;
    SetDeadline(context, timeout);
    Active active(*this, context);
    Response response;
    const grpc::Status status = (stub.*method)(&context, request, &response);
    if (status.ok()) return response;
    return Translate(status, context, service, timeout);
  }

  template <typename Response, typename Request>
  absl::StatusOr<Response> Capture(
      grpc::Status (v1::CaptureService::Stub::*method)(grpc::ClientContext*,
                                                       const Request&,
                                                       Response*),
      const Request& request, absl::Duration timeout) {
    return Call("capture", *capture_, method, request, timeout);
  }
  template <typename Response, typename Request>
  absl::StatusOr<Response> Inference(
      grpc::Status (v1::InferenceService::Stub::*method)(grpc::ClientContext*,
                                                         const Request&,
                                                         Response*),
      const Request& request, absl::Duration timeout) {
    return Call("inference", *inference_, method, request, timeout);
  }
  template <typename Response, typename Request>
  absl::StatusOr<Response> Aggregator(
      grpc::Status (v1::AggregatorService::Stub::*method)(grpc::ClientContext*,
                                                          const Request&,
                                                          Response*),
      const Request& request, absl::Duration timeout) {
    return Call("aggregator", *aggregator_, method, request, timeout);
  }

  absl::StatusOr<v1::Model> Prepare(const v1::PrepareModelRequest& request) {
    grpc::ClientContext context;
    SetDeadline(context, options_.timeout);
    Active active(*this, context);
    const auto reader = inference_->PrepareModel(&context, request);
    v1::PrepareModelResponse first;
    if (reader->Read(&first)) {
      context.TryCancel();
      (void)reader->Finish();
      return std::move(*first.mutable_model());
    }
    const grpc::Status status = reader->Finish();
    if (status.ok()) {
      return absl::InternalError("PrepareModel answered nothing");
    }
    return Translate(status, context, "inference", options_.timeout);
  }

  absl::StatusOr<std::vector<v1::ProbeSourceResponse>> Probe(
      const v1::ProbeSourceRequest& request) {
    grpc::ClientContext context;
    SetDeadline(context, options_.probe_timeout);
    Active active(*this, context);
    const auto reader = capture_->ProbeSource(&context, request);
    std::vector<v1::ProbeSourceResponse> steps;
    v1::ProbeSourceResponse step;
    while (reader->Read(&step)) steps.push_back(step);
    const grpc::Status status = reader->Finish();
    if (status.ok()) return steps;
    return Translate(status, context, "capture", options_.probe_timeout);
  }

  absl::StatusOr<PieceReader> Export(const v1::ExportRecordsRequest& request) {
    // shared_ptr since std::function wants to be copyable.
    auto call = std::make_shared<ExportCall>(*this, request);
    CAMHERD_RETURN_IF_ERROR(call->ReadFirst());
    return [call] { return call->Next(); };
  }

  Health CheckHealth() {
    struct Check {
      grpc::ClientContext context;
      grpc::ByteBuffer request;
      grpc::ByteBuffer response;
      grpc::Status status;
      absl::Notification done;
    };
    static constexpr std::array<const char*, 3> kNames = {
        "capture", "inference", "aggregator"};
    std::array<Check, 3> checks;
    std::vector<std::unique_ptr<Active>> active;
    std::vector<grpc::GenericStub> stubs;
    for (const auto& channel : channels_) stubs.emplace_back(channel);
    for (size_t i = 0; i < checks.size(); ++i) {
      Check& check = checks[i];
      SetDeadline(check.context, options_.health_timeout);
      active.push_back(std::make_unique<Active>(*this, check.context));
      // An empty message: the health of the whole server.
      const grpc::Slice empty;
      check.request = grpc::ByteBuffer(&empty, 1);
      stubs[i].UnaryCall(&check.context, kHealthMethod, grpc::StubOptions(),
                         &check.request, &check.response,
                         [&check](grpc::Status status) {
                           check.status = std::move(status);
                           check.done.Notify();
                         });
    }
    std::array<absl::Status, 3> result;
    for (size_t i = 0; i < checks.size(); ++i) {
      checks[i].done.WaitForNotification();
      if (!checks[i].status.ok()) {
        result[i] = Translate(checks[i].status, checks[i].context, kNames[i],
                              options_.health_timeout);
      } else if (!IsServing(checks[i].response)) {
        result[i] = absl::UnavailableError(
            absl::StrCat("the ", kNames[i], " service is not serving",
                         NotServingReason(checks[i].context)));
      }
    }
    return {
        .capture = result[0], .inference = result[1], .aggregator = result[2]};
  }

  void Cancel() {
    absl::MutexLock lock(&mu_);
    cancelled_ = true;
    for (grpc::ClientContext* context : active_) context->TryCancel();
  }

  const Options& options() const { return options_; }

 private:
  // Registers a call for Cancel() while it lasts.
  class Active {
   public:
    Active(Impl& impl, grpc::ClientContext& context)
        : impl_(impl), context_(context) {
      absl::MutexLock lock(&impl_.mu_);
      if (impl_.cancelled_) context_.TryCancel();
      impl_.active_.insert(&context_);
    }
    ~Active() {
      absl::MutexLock lock(&impl_.mu_);
      impl_.active_.erase(&context_);
    }
    Active(const Active&) = delete;
    Active& operator=(const Active&) = delete;

   private:
    Impl& impl_;
    grpc::ClientContext& context_;
  };

  // An ExportRecords under way; cancelled if it goes before its end.
  class ExportCall {
   public:
    ExportCall(Impl& impl, const v1::ExportRecordsRequest& request)
        : impl_(impl), active_(impl, context_) {
      SetDeadline(context_, impl_.options_.stream_timeout);
      reader_ = impl_.aggregator_->ExportRecords(&context_, request);
    }
    ~ExportCall() {
      if (ended_) return;
      context_.TryCancel();
      (void)reader_->Finish();
    }

    absl::Status ReadFirst() {
      CAMHERD_ASSIGN_OR_RETURN(first_, Read());
      return absl::OkStatus();
    }
    absl::StatusOr<std::string> Next() {
      if (!first_.empty()) return std::exchange(first_, std::string());
      return Read();
    }

   private:
    // "" at the end.
    absl::StatusOr<std::string> Read() {
      v1::ExportRecordsResponse response;
      while (!ended_ && reader_->Read(&response)) {
        if (!response.chunk().empty()) {
          return std::move(*response.mutable_chunk());
        }
      }
      if (ended_) return std::string();
      ended_ = true;
      const grpc::Status status = reader_->Finish();
      if (status.ok()) return std::string();
      return Translate(status, context_, "aggregator",
                       impl_.options_.stream_timeout);
    }

    Impl& impl_;
    grpc::ClientContext context_;
    Active active_;
    std::unique_ptr<grpc::ClientReader<v1::ExportRecordsResponse>> reader_;
    std::string first_;
    bool ended_ = false;
  };

  const Options options_;
  // shared_ptr is gRPC's interface. In the order capture, inference,
  // aggregator.
  const std::array<std::shared_ptr<grpc::Channel>, 3> channels_;
  const std::unique_ptr<v1::CaptureService::Stub> capture_;
  const std::unique_ptr<v1::InferenceService::Stub> inference_;
  const std::unique_ptr<v1::AggregatorService::Stub> aggregator_;

  absl::Mutex mu_;
  bool cancelled_ ABSL_GUARDED_BY(mu_) = false;
  absl::flat_hash_set<grpc::ClientContext*> active_ ABSL_GUARDED_BY(mu_);
};

BackendClients::BackendClients(const Options& options)
    : impl_(std::make_unique<Impl>(options)) {}
BackendClients::~BackendClients() = default;

absl::StatusOr<v1::StartStreamResponse> BackendClients::StartStream(
    const v1::StartStreamRequest& request) {
  return impl_->Capture(&v1::CaptureService::Stub::StartStream, request,
                        impl_->options().start_timeout);
}
absl::StatusOr<v1::StopStreamResponse> BackendClients::StopStream(
    const v1::StopStreamRequest& request) {
  return impl_->Capture(&v1::CaptureService::Stub::StopStream, request,
                        impl_->options().stop_timeout);
}
absl::StatusOr<v1::Stream> BackendClients::GetStream(
    const v1::GetStreamRequest& request) {
  return impl_->Capture(&v1::CaptureService::Stub::GetStream, request,
                        impl_->options().timeout);
}
absl::StatusOr<v1::ListStreamsResponse> BackendClients::ListStreams(
    const v1::ListStreamsRequest& request) {
  return impl_->Capture(&v1::CaptureService::Stub::ListStreams, request,
                        impl_->options().timeout);
}
absl::StatusOr<v1::Stream> BackendClients::UpdateStream(
    const v1::UpdateStreamRequest& request) {
  return impl_->Capture(&v1::CaptureService::Stub::UpdateStream, request,
                        impl_->options().start_timeout);
}
absl::StatusOr<v1::DeleteStreamResponse> BackendClients::DeleteStream(
    const v1::DeleteStreamRequest& request) {
  return impl_->Capture(&v1::CaptureService::Stub::DeleteStream, request,
                        impl_->options().stop_timeout);
}
absl::StatusOr<v1::GetLatestFrameResponse> BackendClients::GetLatestFrame(
    const v1::GetLatestFrameRequest& request) {
  return impl_->Capture(&v1::CaptureService::Stub::GetLatestFrame, request,
                        impl_->options().timeout);
}
absl::StatusOr<v1::GetGridResponse> BackendClients::GetGrid(
    const v1::GetGridRequest& request) {
  return impl_->Capture(&v1::CaptureService::Stub::GetGrid, request,
                        impl_->options().stop_timeout);
}
absl::StatusOr<std::vector<v1::ProbeSourceResponse>>
BackendClients::ProbeSource(const v1::ProbeSourceRequest& request) {
  return impl_->Probe(request);
}

absl::StatusOr<v1::ListModelsResponse> BackendClients::ListModels() {
  return impl_->Inference(&v1::InferenceService::Stub::ListModels,
                          v1::ListModelsRequest(), impl_->options().timeout);
}
absl::StatusOr<v1::Model> BackendClients::GetModel(
    const v1::GetModelRequest& request) {
  return impl_->Inference(&v1::InferenceService::Stub::GetModel, request,
                          impl_->options().timeout);
}
absl::StatusOr<v1::Model> BackendClients::PrepareModel(
    const v1::PrepareModelRequest& request) {
  return impl_->Prepare(request);
}
absl::StatusOr<v1::Model> BackendClients::UnloadModel(
    const v1::UnloadModelRequest& request) {
  return impl_->Inference(&v1::InferenceService::Stub::UnloadModel, request,
                          impl_->options().timeout);
}
absl::StatusOr<v1::DetectResponse> BackendClients::Detect(
    const v1::DetectRequest& request) {
  return impl_->Inference(&v1::InferenceService::Stub::Detect, request,
                          impl_->options().detect_timeout);
}

absl::StatusOr<v1::ListRecordsResponse> BackendClients::ListRecords(
    const v1::ListRecordsRequest& request) {
  return impl_->Aggregator(&v1::AggregatorService::Stub::ListRecords, request,
                           impl_->options().timeout);
}
absl::StatusOr<v1::Record> BackendClients::GetRecord(
    const v1::GetRecordRequest& request) {
  return impl_->Aggregator(&v1::AggregatorService::Stub::GetRecord, request,
                           impl_->options().timeout);
}
absl::StatusOr<v1::GetRecordImageResponse> BackendClients::GetRecordImage(
    const v1::GetRecordImageRequest& request) {
  return impl_->Aggregator(&v1::AggregatorService::Stub::GetRecordImage,
                           request, impl_->options().timeout);
}
absl::StatusOr<BackendClients::PieceReader> BackendClients::ExportRecords(
    const v1::ExportRecordsRequest& request) {
  return impl_->Export(request);
}
absl::StatusOr<v1::ListGridsResponse> BackendClients::ListGrids(
    const v1::ListGridsRequest& request) {
  return impl_->Aggregator(&v1::AggregatorService::Stub::ListGrids, request,
                           impl_->options().timeout);
}
absl::StatusOr<v1::ListCamerasResponse> BackendClients::ListCameras(
    const v1::ListCamerasRequest& request) {
  return impl_->Aggregator(&v1::AggregatorService::Stub::ListCameras, request,
                           impl_->options().timeout);
}
absl::StatusOr<v1::Camera> BackendClients::GetCamera(
    const v1::GetCameraRequest& request) {
  return impl_->Aggregator(&v1::AggregatorService::Stub::GetCamera, request,
                           impl_->options().timeout);
}
absl::StatusOr<v1::Camera> BackendClients::UpsertCamera(
    const v1::UpsertCameraRequest& request) {
  return impl_->Aggregator(&v1::AggregatorService::Stub::UpsertCamera, request,
                           impl_->options().timeout);
}
absl::StatusOr<v1::ImportCamerasResponse> BackendClients::ImportCameras(
    const v1::ImportCamerasRequest& request) {
  return impl_->Aggregator(&v1::AggregatorService::Stub::ImportCameras, request,
                           impl_->options().detect_timeout);
}

BackendClients::Health BackendClients::CheckHealth() {
  return impl_->CheckHealth();
}

void BackendClients::Cancel() { impl_->Cancel(); }

}  // namespace camherd::gateway
