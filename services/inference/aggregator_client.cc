// SPDX-License-Identifier: Apache-2.0
#include "services/inference/aggregator_client.h"

#include <grpcpp/client_context.h>

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "services/common/grpc_client.h"
#include "services/common/grpc_status.h"
#include "services/common/retry_delay.h"

namespace camherd::inference {

using camherd::v1::AddBatchResultHeader;
using camherd::v1::AddBatchResultRequest;
using camherd::v1::AddBatchResultResponse;
using camherd::v1::AggregatorService;

AggregatorClient::AggregatorClient(const Options& options)
    : options_(options),
      channel_(MakeChannel(options.target, options.security)),
      stub_(AggregatorService::NewStub(channel_)) {
  channel_->GetState(/*try_to_connect=*/true);
}

absl::Status AggregatorClient::CheckAvailable() {
  switch (channel_->GetState(/*try_to_connect=*/true)) {
    case GRPC_CHANNEL_READY:
    case GRPC_CHANNEL_IDLE:
      return absl::OkStatus();
    default:
      return absl::UnavailableError(
          absl::StrCat("the aggregator at ", options_.target, " is away"));
  }
}

absl::StatusOr<AddBatchResultResponse> AggregatorClient::AddBatchResult(
    const AddBatchResultHeader& header,
    const std::vector<PictureRef>& pictures) {
  grpc::ClientContext context;
  SetDeadline(context, options_.timeout);
  AddBatchResultResponse response;
  const auto writer = stub_->AddBatchResult(&context, &response);
  AddBatchResultRequest request;
  *request.mutable_header() = header;
  const bool begun = writer->Write(request);
  bool open = begun;
  for (const PictureRef& picture : pictures) {
    if (!open) break;  // It has answered already; Finish says what.
    auto& part = *request.mutable_picture();
    part.set_frame_index(picture.frame_index);
    part.set_jpeg(picture.jpeg.data(), picture.jpeg.size());
    open = writer->Write(request);
  }
  writer->WritesDone();
  const grpc::Status status = writer->Finish();
  if (status.ok()) return response;
  absl::Status failed = FromGrpcStatus(status, &context);
  // Without its header nothing is recorded.
  return begun ? failed : WithoutEffect(std::move(failed));
}

}  // namespace camherd::inference
