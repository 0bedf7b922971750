// SPDX-License-Identifier: Apache-2.0
#include "services/capture/inference_client.h"

#include <grpcpp/client_context.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "camherd/v1/inference_service.grpc.pb.h"
#include "services/capture/call_registry.h"
#include "services/common/file.h"
#include "services/common/grpc_client.h"
#include "services/common/grpc_status.h"
#include "services/common/trace_context.h"

namespace camherd::capture {
namespace {

constexpr size_t kMaxFrameBytes = 19 << 20;

class InferenceClient : public InferencePeer {
 public:
  InferenceClient(const std::string& target, const GrpcSecurity& security)
      : stub_(v1::InferenceService::NewStub(MakeChannel(target, security))) {}

  absl::Status PrepareModel(const std::string& model,
                            absl::Duration timeout) override {
    grpc::ClientContext context;
    CallRegistry::Scope scope(calls_, context);
    SetDeadline(context, timeout);
    v1::PrepareModelRequest request;
    request.set_name(model);
    const auto reader = stub_->PrepareModel(&context, request);
    v1::PrepareModelResponse step;
    while (reader->Read(&step)) {
      // FAILED comes with the call's own end, which says why.
      if (step.model().state() == v1::MODEL_STATE_FAILED) continue;
      // Preparing goes on without us.
      context.TryCancel();
      while (reader->Read(&step)) {
      }
      reader->Finish();
      return absl::OkStatus();
    }
    const absl::Status status = FromGrpcStatus(reader->Finish(), &context);
    if (absl::IsNotFound(status)) return UnknownModel(model, timeout);
    if (status.ok() && step.model().state() == v1::MODEL_STATE_FAILED) {
      return absl::FailedPreconditionError(absl::StrCat(
          "model ", model, " cannot run: ", step.model().reason()));
    }
    return status;
  }

  BatchAnswer InferBatch(
      const OutgoingBatch& batch, absl::Duration timeout,
      const std::function<absl::Status()>& before_last) override {
    BatchAnswer answer;
    v1::InferBatchRequest request;
    v1::InferBatchHeader& header = *request.mutable_header();
    if (!header.mutable_manifest()->ParseFromString(batch.manifest)) {
      answer.status = absl::DataLossError("the manifest cannot be read");
      return answer;
    }
    header.set_manifest_sha256(batch.manifest_sha256);
    *header.mutable_filter() = batch.filter;
    header.set_traceparent(TraceContext::OfBatch(header.manifest().session_id(),
                                                 header.manifest().batch_seq())
                               .ToHeader());
    std::vector<v1::FrameInfo> infos(header.manifest().frames().begin(),
                                     header.manifest().frames().end());

    grpc::ClientContext context;
    CallRegistry::Scope scope(calls_, context);
    SetDeadline(context, timeout);
    const auto writer = stub_->InferBatch(&context, &answer.response);
    bool alive = writer->Write(request);
    for (size_t i = 0; alive && i < batch.frame_files.size(); ++i) {
      absl::StatusOr<std::string> jpeg =
          ReadFile(batch.frame_files[i], kMaxFrameBytes);
      if (jpeg.ok() &&
          static_cast<int64_t>(jpeg->size()) != infos[i].size_bytes()) {
        jpeg = absl::DataLossError(absl::StrCat(batch.frame_files[i], " has ",
                                                jpeg->size(), " bytes, not ",
                                                infos[i].size_bytes()));
      }
      if (!jpeg.ok()) {
        context.TryCancel();
        writer->Finish();
        answer.status = answer.file_error = jpeg.status();
        return answer;
      }
      const bool last = i + 1 == batch.frame_files.size();
      if (last) {
        if (absl::Status status = before_last(); !status.ok()) {
          context.TryCancel();
          writer->Finish();
          answer.status = status;
          return answer;
        }
      }
      v1::Frame& frame = *request.mutable_frame();
      *frame.mutable_info() = infos[i];
      frame.set_jpeg(*std::move(jpeg));
      alive = writer->Write(request);
      if (last) answer.sent_whole = alive;
    }
    writer->WritesDone();
    answer.status = FromGrpcStatus(writer->Finish(), &context);
    return answer;
  }

  void Cancel() override { calls_.CancelAll(); }

 private:
  absl::Status UnknownModel(const std::string& model, absl::Duration timeout) {
    grpc::ClientContext context;
    CallRegistry::Scope scope(calls_, context);
    SetDeadline(context, timeout);
    v1::ListModelsResponse models;
    std::vector<std::string> names;
    if (stub_->ListModels(&context, v1::ListModelsRequest(), &models).ok()) {
      for (const v1::Model& known : models.models()) {
        names.push_back(known.name());
      }
    }
    return absl::InvalidArgumentError(
        absl::StrCat("model_name must be one of [", absl::StrJoin(names, ", "),
                     "], got \"", model, "\""));
  }

  const std::unique_ptr<v1::InferenceService::Stub> stub_;
  CallRegistry calls_;
};

}  // namespace

std::unique_ptr<InferencePeer> MakeInferenceClient(
    const std::string& target, const GrpcSecurity& security) {
  return std::make_unique<InferenceClient>(target, security);
}

}  // namespace camherd::capture
