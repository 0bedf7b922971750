// SPDX-License-Identifier: Apache-2.0
#include "services/capture/aggregator_client.h"

#include <grpcpp/client_context.h>

#include "camherd/v1/aggregator_service.grpc.pb.h"
#include "services/capture/call_registry.h"
#include "services/common/grpc_client.h"
#include "services/common/grpc_status.h"

namespace camherd::capture {
namespace {

class AggregatorClient : public AggregatorPeer {
 public:
  AggregatorClient(const std::string& target, const GrpcSecurity& security)
      : target_(target),
        security_(security),
        cameras_(
            v1::AggregatorService::NewStub(MakeChannel(target, security))) {}

  absl::StatusOr<v1::RenderGridResponse> RenderGrid(
      const v1::RenderGridHeader& header, const std::vector<v1::Frame>& frames,
      absl::Duration timeout) override {
    grpc::ClientContext context;
    CallRegistry::Scope scope(calls_, context);
    SetDeadline(context, timeout);
    v1::RenderGridResponse response;
    // Over a connection of its own: after an outage the other one, which is
    // asked for cameras all the time, pauses for seconds before it connects.
    const auto stub =
        v1::AggregatorService::NewStub(MakeChannel(target_, security_));
    const auto writer = stub->RenderGrid(&context, &response);
    v1::RenderGridRequest request;
    *request.mutable_header() = header;
    bool alive = writer->Write(request);
    for (size_t i = 0; alive && i < frames.size(); ++i) {
      *request.mutable_frame() = frames[i];
      alive = writer->Write(request);
    }
    writer->WritesDone();
    const absl::Status status = FromGrpcStatus(writer->Finish(), &context);
    if (!status.ok()) return status;
    return response;
  }

  absl::StatusOr<v1::ListCamerasResponse> ListCameras(
      const v1::ListCamerasRequest& request, absl::Duration timeout) override {
    grpc::ClientContext context;
    CallRegistry::Scope scope(calls_, context);
    SetDeadline(context, timeout);
    v1::ListCamerasResponse response;
    const absl::Status status = FromGrpcStatus(
        cameras_->ListCameras(&context, request, &response), &context);
    if (!status.ok()) return status;
    return response;
  }

  void Cancel() override { calls_.CancelAll(); }

 private:
  const std::string target_;
  const GrpcSecurity security_;
  const std::unique_ptr<v1::AggregatorService::Stub> cameras_;
  CallRegistry calls_;
};

}  // namespace

std::unique_ptr<AggregatorPeer> MakeAggregatorClient(
    const std::string& target, const GrpcSecurity& security) {
  return std::make_unique<AggregatorClient>(target, security);
}

}  // namespace camherd::capture
