// SPDX-License-Identifier: Apache-2.0
#include "services/capture/capture_service.h"

#include <utility>

#include "services/common/grpc_status.h"

namespace camherd::capture {

CaptureGrpcService::CaptureGrpcService(const Options& options,
                                       StreamSupervisor& supervisor,
                                       CaptureMetrics* metrics)
    : supervisor_(supervisor),
      metrics_(metrics),
      calls_(options.threads, options.queue) {}

template <auto kMethod, typename Request, typename Response>
grpc::ServerUnaryReactor* CaptureGrpcService::Call(
    const char* name, grpc::CallbackServerContext* context,
    const Request* request, Response* response) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  const auto finish = [this, name, context,
                       reactor](const absl::Status& status) {
    if (metrics_ != nullptr) metrics_->RpcAnswered(name, status.code());
    reactor->Finish(ToGrpcStatus(status, context));
  };
  // Request and response live until Finish.
  const bool queued = calls_.TryRun([this, finish, context, request, response] {
    // Nobody waits any more for a call that waited here for too long.
    if (context->IsCancelled()) {
      finish(absl::CancelledError("the caller has gone"));
      return;
    }
    absl::StatusOr<Response> answer = (supervisor_.*kMethod)(*request);
    if (answer.ok()) *response = *std::move(answer);
    finish(answer.status());
  });
  if (!queued) {
    finish(absl::ResourceExhaustedError(
        "the capture service has too many calls waiting"));
  }
  return reactor;
}

grpc::ServerUnaryReactor* CaptureGrpcService::StartStream(
    grpc::CallbackServerContext* context, const v1::StartStreamRequest* request,
    v1::StartStreamResponse* response) {
  return Call<&StreamSupervisor::StartStream>("StartStream", context, request,
                                              response);
}

grpc::ServerUnaryReactor* CaptureGrpcService::StopStream(
    grpc::CallbackServerContext* context, const v1::StopStreamRequest* request,
    v1::StopStreamResponse* response) {
  return Call<&StreamSupervisor::StopStream>("StopStream", context, request,
                                             response);
}

grpc::ServerUnaryReactor* CaptureGrpcService::GetStream(
    grpc::CallbackServerContext* context, const v1::GetStreamRequest* request,
    v1::Stream* response) {
  return Call<&StreamSupervisor::GetStream>("GetStream", context, request,
                                            response);
}

grpc::ServerUnaryReactor* CaptureGrpcService::ListStreams(
    grpc::CallbackServerContext* context, const v1::ListStreamsRequest* request,
    v1::ListStreamsResponse* response) {
  return Call<&StreamSupervisor::ListStreams>("ListStreams", context, request,
                                              response);
}

grpc::ServerUnaryReactor* CaptureGrpcService::UpdateStream(
    grpc::CallbackServerContext* context,
    const v1::UpdateStreamRequest* request, v1::Stream* response) {
  return Call<&StreamSupervisor::UpdateStream>("UpdateStream", context, request,
                                               response);
}

grpc::ServerUnaryReactor* CaptureGrpcService::DeleteStream(
    grpc::CallbackServerContext* context,
    const v1::DeleteStreamRequest* request,
    v1::DeleteStreamResponse* response) {
  return Call<&StreamSupervisor::DeleteStream>("DeleteStream", context, request,
                                               response);
}

grpc::ServerUnaryReactor* CaptureGrpcService::GetLatestFrame(
    grpc::CallbackServerContext* context,
    const v1::GetLatestFrameRequest* request,
    v1::GetLatestFrameResponse* response) {
  return Call<&StreamSupervisor::GetLatestFrame>("GetLatestFrame", context,
                                                 request, response);
}

grpc::ServerUnaryReactor* CaptureGrpcService::GetGrid(
    grpc::CallbackServerContext* context, const v1::GetGridRequest* request,
    v1::GetGridResponse* response) {
  return Call<&StreamSupervisor::GetGrid>("GetGrid", context, request,
                                          response);
}

}  // namespace camherd::capture
