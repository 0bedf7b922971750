// SPDX-License-Identifier: Apache-2.0
#include "services/aggregator/import_client.h"

#include <grpcpp/client_context.h>

#include "absl/time/time.h"
#include "camherd/v1/aggregator_service.grpc.pb.h"
#include "services/common/grpc_client.h"
#include "services/common/grpc_status.h"

namespace camherd::aggregator {
namespace {

constexpr size_t kChunkBytes = size_t{64} << 10;
// A file of any size ends before that, or somebody looks after it.
constexpr absl::Duration kTimeout = absl::Hours(24);

}  // namespace

class ImportClient::Call {
 public:
  Call(const std::string& address, const GrpcSecurity& security)
      : stub_(v1::AggregatorService::NewStub(MakeChannel(address, security))) {
    SetDeadline(context_, kTimeout);
    writer_ = stub_->ImportRecords(&context_, &response_);
  }
  ~Call() {
    if (ended_) return;
    context_.TryCancel();
    (void)writer_->Finish();
  }

  absl::Status Add(absl::string_view bytes) {
    while (!bytes.empty()) {
      v1::ImportRecordsRequest request;
      request.set_chunk(std::string(bytes.substr(0, kChunkBytes)));
      bytes.remove_prefix(request.chunk().size());
      if (!writer_->Write(request)) return End();
    }
    return absl::OkStatus();
  }

  absl::StatusOr<v1::ImportRecordsResponse> Finish() {
    writer_->WritesDone();
    const absl::Status status = End();
    if (!status.ok()) return status;
    return response_;
  }

 private:
  absl::Status End() {
    ended_ = true;
    return FromGrpcStatus(writer_->Finish(), &context_);
  }

  const std::unique_ptr<v1::AggregatorService::Stub> stub_;
  grpc::ClientContext context_;
  v1::ImportRecordsResponse response_;
  std::unique_ptr<grpc::ClientWriter<v1::ImportRecordsRequest>> writer_;
  bool ended_ = false;
};

ImportClient::ImportClient(const std::string& address,
                           const GrpcSecurity& security)
    : call_(std::make_unique<Call>(address, security)) {}

ImportClient::~ImportClient() = default;

absl::Status ImportClient::Add(absl::string_view bytes) {
  return call_->Add(bytes);
}

absl::StatusOr<v1::ImportRecordsResponse> ImportClient::Finish() {
  return call_->Finish();
}

}  // namespace camherd::aggregator
