// SPDX-License-Identifier: Apache-2.0
#include "services/cli/herd_client.h"

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include <set>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "camherd/v1/aggregator_service.grpc.pb.h"
#include "camherd/v1/capture_service.grpc.pb.h"
#include "camherd/v1/inference_service.grpc.pb.h"
#include "services/cli/exit_code.h"
#include "services/common/grpc_client.h"
#include "services/common/grpc_status.h"
#include "services/common/status_macros.h"

namespace camherd::cli {
namespace {

constexpr absl::Duration kTimeout = absl::Seconds(10);
// StartStream asks for its models, StopStream waits for the grid.
constexpr absl::Duration kStartTimeout = absl::Seconds(20);
// A probe looks at pictures for 20 s, and may wait 30 s before.
constexpr absl::Duration kProbeTimeout = absl::Seconds(90);
// As long as an environment takes, an export's reader, a watch.
constexpr absl::Duration kStreamTimeout = absl::Hours(2);
constexpr int kPageSize = 1000;

// One service: its channel, and what to call it in messages.
template <typename Service>
struct Peer {
  Peer(absl::string_view peer_name, const HerdClient::Options& options,
       const std::string& target)
      : name(peer_name),
        address(target),
        channel(MakeChannel(target, options.security)),
        stub(Service::NewStub(channel)) {}

  const std::string name;
  const std::string address;
  const std::shared_ptr<grpc::Channel> channel;
  const std::unique_ptr<typename Service::Stub> stub;
};

// Why there is no connection, out of gRPC's text.
std::string Cause(absl::string_view message) {
  for (const absl::string_view cause :
       {"Connection refused", "No such file or directory", "No route to host",
        "Network is unreachable", "Connection reset by peer",
        "Domain name not found", "DNS resolution failed",
        "Ssl handshake failed", "Hostname Verification Check failed",
        "Broken pipe", "Socket closed"}) {
    if (absl::StrContains(message, cause)) return std::string(cause);
  }
  return std::string(message);
}

template <typename Service>
absl::Status Translate(const grpc::Status& status,
                       const grpc::ClientContext& context,
                       const Peer<Service>& peer, absl::Duration timeout) {
  if (status.ok()) return absl::OkStatus();
  const absl::Status result = FromGrpcStatus(status, &context);
  const std::string who =
      absl::StrCat("the ", peer.name, " service at ", peer.address);
  // What a service says itself comes over a connection that stands.
  if (absl::IsUnavailable(result) &&
      peer.channel->GetState(false) != GRPC_CHANNEL_READY) {
    return Unreachable(
        absl::StrCat(who, " cannot be reached: ", Cause(result.message())));
  }
  if (absl::IsDeadlineExceeded(result)) {
    return Unreachable(absl::StrCat(who, " did not answer within ",
                                    absl::FormatDuration(timeout)));
  }
  if (absl::IsUnauthenticated(result)) {
    return absl::UnauthenticatedError(absl::StrCat(
        who, " takes no call without a token that it knows (grpc.token_file)"));
  }
  return result;
}

template <typename Response, typename Service, typename Stub, typename Request>
absl::StatusOr<Response> Call(const Peer<Service>& peer,
                              grpc::Status (Stub::*method)(grpc::ClientContext*,
                                                           const Request&,
                                                           Response*),
                              const Request& request,
                              absl::Duration timeout = kTimeout) {
  grpc::ClientContext context;
  SetDeadline(context, timeout);
  Response response;
  const grpc::Status status =
      (peer.stub.get()->*method)(&context, request, &response);
  if (status.ok()) return response;
  return Translate(status, context, peer, timeout);
}

}  // namespace

class HerdClient::Impl {
 public:
  explicit Impl(const Options& options)
      : capture("capture", options, options.capture),
        inference("inference", options, options.inference),
        aggregator("aggregator", options, options.aggregator) {}

  // Reads to the end, or until `take` has an error.
  template <typename Response, typename Service, typename Stub,
            typename Request>
  absl::Status ReadAll(const Peer<Service>& peer,
                       std::unique_ptr<grpc::ClientReader<Response>> (
                           Stub::*method)(grpc::ClientContext*, const Request&),
                       const Request& request, absl::Duration timeout,
                       const TakeFn<Response>& take) {
    grpc::ClientContext context;
    SetDeadline(context, timeout);
    {
      absl::MutexLock lock(&mu_);
      if (cancelled_) context.TryCancel();
      active_.insert(&context);
    }
    const auto reader = (peer.stub.get()->*method)(&context, request);
    Response response;
    absl::Status taken;
    while (taken.ok() && reader->Read(&response)) taken = take(response);
    if (!taken.ok()) context.TryCancel();
    const grpc::Status status = reader->Finish();
    {
      absl::MutexLock lock(&mu_);
      active_.erase(&context);
    }
    if (!taken.ok()) return taken;
    return Translate(status, context, peer, timeout);
  }

  void Cancel() {
    absl::MutexLock lock(&mu_);
    cancelled_ = true;
    for (grpc::ClientContext* context : active_) context->TryCancel();
  }

  const Peer<v1::CaptureService> capture;
  const Peer<v1::InferenceService> inference;
  const Peer<v1::AggregatorService> aggregator;

 private:
  absl::Mutex mu_;
  bool cancelled_ ABSL_GUARDED_BY(mu_) = false;
  std::set<grpc::ClientContext*> active_ ABSL_GUARDED_BY(mu_);
};

HerdClient::HerdClient(const Options& options)
    : impl_(std::make_unique<Impl>(options)) {}
HerdClient::~HerdClient() = default;

void HerdClient::Cancel() { impl_->Cancel(); }

absl::StatusOr<v1::StartStreamResponse> HerdClient::StartStream(
    const v1::StartStreamRequest& request) {
  return Call(impl_->capture, &v1::CaptureService::Stub::StartStream, request,
              kStartTimeout);
}

absl::StatusOr<v1::StopStreamResponse> HerdClient::StopStream(
    const v1::StopStreamRequest& request) {
  return Call(impl_->capture, &v1::CaptureService::Stub::StopStream, request,
              kStartTimeout);
}

absl::StatusOr<v1::Stream> HerdClient::UpdateStream(
    const v1::UpdateStreamRequest& request) {
  return Call(impl_->capture, &v1::CaptureService::Stub::UpdateStream, request,
              kStartTimeout);
}

absl::StatusOr<v1::ListStreamsResponse> HerdClient::ListStreams(
    v1::ListStreamsRequest request) {
  v1::ListStreamsResponse all;
  request.set_page_size(kPageSize);
  do {
    CAMHERD_ASSIGN_OR_RETURN(
        v1::ListStreamsResponse page,
        Call(impl_->capture, &v1::CaptureService::Stub::ListStreams, request));
    for (v1::Stream& stream : *page.mutable_streams()) {
      all.add_streams()->Swap(&stream);
    }
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty());
  return all;
}

absl::StatusOr<v1::GetGridResponse> HerdClient::GetGrid(
    const v1::GetGridRequest& request) {
  return Call(impl_->capture, &v1::CaptureService::Stub::GetGrid, request,
              kStartTimeout);
}

absl::Status HerdClient::ProbeSource(
    const v1::ProbeSourceRequest& request,
    const TakeFn<v1::ProbeSourceResponse>& take) {
  return impl_->ReadAll(impl_->capture, &v1::CaptureService::Stub::ProbeSource,
                        request, kProbeTimeout, take);
}

absl::StatusOr<v1::ListModelsResponse> HerdClient::ListModels() {
  return Call(impl_->inference, &v1::InferenceService::Stub::ListModels,
              v1::ListModelsRequest());
}

absl::StatusOr<v1::Model> HerdClient::GetModel(
    const v1::GetModelRequest& request) {
  return Call(impl_->inference, &v1::InferenceService::Stub::GetModel, request);
}

absl::StatusOr<v1::Model> HerdClient::UnloadModel(
    const v1::UnloadModelRequest& request) {
  return Call(impl_->inference, &v1::InferenceService::Stub::UnloadModel,
              request);
}

absl::Status HerdClient::PrepareModel(
    const v1::PrepareModelRequest& request,
    const TakeFn<v1::PrepareModelResponse>& take) {
  return impl_->ReadAll(impl_->inference,
                        &v1::InferenceService::Stub::PrepareModel, request,
                        kStreamTimeout, take);
}

absl::StatusOr<v1::ListRecordsResponse> HerdClient::ListRecords(
    const v1::ListRecordsRequest& request) {
  return Call(impl_->aggregator, &v1::AggregatorService::Stub::ListRecords,
              request);
}

absl::StatusOr<v1::Record> HerdClient::GetRecord(
    const v1::GetRecordRequest& request) {
  return Call(impl_->aggregator, &v1::AggregatorService::Stub::GetRecord,
              request);
}

absl::Status HerdClient::ExportRecords(
    const v1::ExportRecordsRequest& request,
    const TakeFn<v1::ExportRecordsResponse>& take) {
  return impl_->ReadAll(impl_->aggregator,
                        &v1::AggregatorService::Stub::ExportRecords, request,
                        kStreamTimeout, take);
}

absl::StatusOr<v1::ListCamerasResponse> HerdClient::ListCameras(
    v1::ListCamerasRequest request) {
  v1::ListCamerasResponse all;
  request.set_page_size(kPageSize);
  do {
    CAMHERD_ASSIGN_OR_RETURN(
        v1::ListCamerasResponse page,
        Call(impl_->aggregator, &v1::AggregatorService::Stub::ListCameras,
             request));
    for (v1::Camera& camera : *page.mutable_cameras()) {
      all.add_cameras()->Swap(&camera);
    }
    if (request.page_token().empty()) all.set_revision(page.revision());
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty());
  return all;
}

absl::StatusOr<v1::Camera> HerdClient::GetCamera(
    const v1::GetCameraRequest& request) {
  return Call(impl_->aggregator, &v1::AggregatorService::Stub::GetCamera,
              request);
}

absl::StatusOr<v1::Camera> HerdClient::UpsertCamera(
    const v1::UpsertCameraRequest& request) {
  return Call(impl_->aggregator, &v1::AggregatorService::Stub::UpsertCamera,
              request);
}

absl::StatusOr<v1::ImportCamerasResponse> HerdClient::ImportCameras(
    const v1::ImportCamerasRequest& request) {
  return Call(impl_->aggregator, &v1::AggregatorService::Stub::ImportCameras,
              request, kStartTimeout);
}

absl::Status HerdClient::WatchStreams(
    const v1::WatchStreamsRequest& request,
    const TakeFn<v1::WatchStreamsResponse>& take) {
  return impl_->ReadAll(impl_->capture, &v1::CaptureService::Stub::WatchStreams,
                        request, kStreamTimeout, take);
}

absl::Status HerdClient::WatchRecords(
    const v1::WatchRecordsRequest& request,
    const TakeFn<v1::WatchRecordsResponse>& take) {
  return impl_->ReadAll(impl_->aggregator,
                        &v1::AggregatorService::Stub::WatchRecords, request,
                        kStreamTimeout, take);
}

absl::Status HerdClient::WatchModels(
    const v1::WatchModelsRequest& request,
    const TakeFn<v1::WatchModelsResponse>& take) {
  return impl_->ReadAll(impl_->inference,
                        &v1::InferenceService::Stub::WatchModels, request,
                        kStreamTimeout, take);
}

}  // namespace camherd::cli
