// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "absl/time/time.h"
#include "camherd/v1/inference_service.grpc.pb.h"
#include "services/inference/inference_core.h"
#include "services/inference/inference_metrics.h"
#include "services/inference/model_feed.h"
#include "services/inference/model_registry.h"

namespace camherd::inference {

// The RPCs: translates to and from the core, decides nothing. Reactions never
// block; what may, runs on the core's threads.
class InferenceServiceImpl final
    : public camherd::v1::InferenceService::CallbackService {
 public:
  struct Options {
    // A batch whose frames have not come so long after its header is given
    // up, so that it does not hold its place for ever.
    absl::Duration receive_timeout = absl::Seconds(30);
  };

  // All must outlive the server; `metrics` may be null.
  InferenceServiceImpl(const Options& options, InferenceCore& core,
                       ModelRegistry& registry, InferenceMetrics* metrics)
      : options_(options),
        core_(core),
        registry_(registry),
        feed_(registry),
        metrics_(metrics) {}

  // Ends the watches, which nothing else does. Before the server stops.
  void StopWatches() { feed_.Stop(); }

  grpc::ServerReadReactor<camherd::v1::InferBatchRequest>* InferBatch(
      grpc::CallbackServerContext* context,
      camherd::v1::InferBatchResponse* response) override;
  grpc::ServerUnaryReactor* Detect(
      grpc::CallbackServerContext* context,
      const camherd::v1::DetectRequest* request,
      camherd::v1::DetectResponse* response) override;
  grpc::ServerUnaryReactor* ListModels(
      grpc::CallbackServerContext* context,
      const camherd::v1::ListModelsRequest* request,
      camherd::v1::ListModelsResponse* response) override;
  grpc::ServerUnaryReactor* GetModel(
      grpc::CallbackServerContext* context,
      const camherd::v1::GetModelRequest* request,
      camherd::v1::Model* response) override;
  grpc::ServerWriteReactor<camherd::v1::PrepareModelResponse>* PrepareModel(
      grpc::CallbackServerContext* context,
      const camherd::v1::PrepareModelRequest* request) override;
  grpc::ServerUnaryReactor* UnloadModel(
      grpc::CallbackServerContext* context,
      const camherd::v1::UnloadModelRequest* request,
      camherd::v1::Model* response) override;
  grpc::ServerWriteReactor<camherd::v1::WatchModelsResponse>* WatchModels(
      grpc::CallbackServerContext* context,
      const camherd::v1::WatchModelsRequest* request) override;

 private:
  const Options options_;
  InferenceCore& core_;
  ModelRegistry& registry_;
  ModelFeed feed_;
  InferenceMetrics* const metrics_;
};

}  // namespace camherd::inference
