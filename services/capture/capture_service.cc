// SPDX-License-Identifier: Apache-2.0
#include "services/capture/capture_service.h"

#include <functional>
#include <optional>
#include <utility>

#include "services/common/grpc_status.h"

namespace camherd::capture {

CaptureGrpcService::CaptureGrpcService(const Options& options,
                                       StreamSupervisor& supervisor,
                                       CaptureMetrics* metrics)
    : supervisor_(supervisor), metrics_(metrics), calls_(options.queue) {
  for (int i = 0; i < options.threads; ++i) {
    threads_.emplace_back([this] {
      while (std::optional<std::function<void()>> call = calls_.Pop()) {
        (*call)();
      }
    });
  }
}

CaptureGrpcService::~CaptureGrpcService() { Stop(); }

void CaptureGrpcService::Stop() {
  calls_.Close();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

template <typename Request, typename Response>
grpc::ServerUnaryReactor* CaptureGrpcService::Call(
    const char* method, grpc::CallbackServerContext* context,
    const Request* request, Response* response,
    absl::StatusOr<Response> (StreamSupervisor::*call)(const Request&)) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  const auto finish = [this, method, context,
                       reactor](const absl::Status& status) {
    if (metrics_ != nullptr) metrics_->RpcAnswered(method, status.code());
    reactor->Finish(ToGrpcStatus(status, context));
  };
  // Request and response live until Finish.
  const bool queued = calls_.TryPush([this, finish, request, response, call] {
    absl::StatusOr<Response> answer = (supervisor_.*call)(*request);
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
  return Call("StartStream", context, request, response,
              &StreamSupervisor::StartStream);
}

grpc::ServerUnaryReactor* CaptureGrpcService::StopStream(
    grpc::CallbackServerContext* context, const v1::StopStreamRequest* request,
    v1::StopStreamResponse* response) {
  return Call("StopStream", context, request, response,
              &StreamSupervisor::StopStream);
}

grpc::ServerUnaryReactor* CaptureGrpcService::GetStream(
    grpc::CallbackServerContext* context, const v1::GetStreamRequest* request,
    v1::Stream* response) {
  return Call("GetStream", context, request, response,
              &StreamSupervisor::GetStream);
}

grpc::ServerUnaryReactor* CaptureGrpcService::ListStreams(
    grpc::CallbackServerContext* context, const v1::ListStreamsRequest* request,
    v1::ListStreamsResponse* response) {
  return Call("ListStreams", context, request, response,
              &StreamSupervisor::ListStreams);
}

grpc::ServerUnaryReactor* CaptureGrpcService::UpdateStream(
    grpc::CallbackServerContext* context,
    const v1::UpdateStreamRequest* request, v1::Stream* response) {
  return Call("UpdateStream", context, request, response,
              &StreamSupervisor::UpdateStream);
}

grpc::ServerUnaryReactor* CaptureGrpcService::DeleteStream(
    grpc::CallbackServerContext* context,
    const v1::DeleteStreamRequest* request,
    v1::DeleteStreamResponse* response) {
  return Call("DeleteStream", context, request, response,
              &StreamSupervisor::DeleteStream);
}

grpc::ServerUnaryReactor* CaptureGrpcService::GetLatestFrame(
    grpc::CallbackServerContext* context,
    const v1::GetLatestFrameRequest* request,
    v1::GetLatestFrameResponse* response) {
  return Call("GetLatestFrame", context, request, response,
              &StreamSupervisor::GetLatestFrame);
}

grpc::ServerUnaryReactor* CaptureGrpcService::GetGrid(
    grpc::CallbackServerContext* context, const v1::GetGridRequest* request,
    v1::GetGridResponse* response) {
  return Call("GetGrid", context, request, response,
              &StreamSupervisor::GetGrid);
}

}  // namespace camherd::capture
