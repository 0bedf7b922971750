// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "camherd/v1/aggregator_service.pb.h"
#include "camherd/v1/capture_service.pb.h"
#include "camherd/v1/inference_service.pb.h"
#include "services/common/grpc_security.h"

namespace camherd::cli {

// The three services as blocking calls, each with a deadline. Errors are those
// of the service, in its words, but for a service that cannot be reached or
// does not answer in time: Unreachable (exit_code.h), naming it.
//
// Lists are read to their last page.
//
// Thread-safe.
class HerdClient {
 public:
  struct Options {
    // host:port, dns:///name:port or unix:path.
    std::string capture = "127.0.0.1:50051";
    std::string inference = "127.0.0.1:50052";
    std::string aggregator = "127.0.0.1:50053";
    GrpcSecurity security = {};
  };
  // Is given each answer; an error ends the call, which then returns it.
  template <typename Answer>
  using TakeFn = std::function<absl::Status(const Answer&)>;

  // Connects at the first call of each service.
  explicit HerdClient(const Options& options);
  ~HerdClient();

  absl::StatusOr<v1::StartStreamResponse> StartStream(
      const v1::StartStreamRequest& request);
  absl::StatusOr<v1::StopStreamResponse> StopStream(
      const v1::StopStreamRequest& request);
  absl::StatusOr<v1::Stream> UpdateStream(
      const v1::UpdateStreamRequest& request);
  absl::StatusOr<v1::ListStreamsResponse> ListStreams(
      v1::ListStreamsRequest request);
  absl::StatusOr<v1::GetGridResponse> GetGrid(
      const v1::GetGridRequest& request);
  absl::Status ProbeSource(const v1::ProbeSourceRequest& request,
                           const TakeFn<v1::ProbeSourceResponse>& take);

  absl::StatusOr<v1::ListModelsResponse> ListModels();
  absl::StatusOr<v1::Model> GetModel(const v1::GetModelRequest& request);
  absl::StatusOr<v1::Model> UnloadModel(const v1::UnloadModelRequest& request);
  absl::Status PrepareModel(const v1::PrepareModelRequest& request,
                            const TakeFn<v1::PrepareModelResponse>& take);

  // One page only.
  absl::StatusOr<v1::ListRecordsResponse> ListRecords(
      const v1::ListRecordsRequest& request);
  absl::StatusOr<v1::Record> GetRecord(const v1::GetRecordRequest& request);
  absl::Status ExportRecords(const v1::ExportRecordsRequest& request,
                             const TakeFn<v1::ExportRecordsResponse>& take);
  absl::StatusOr<v1::ListCamerasResponse> ListCameras(
      v1::ListCamerasRequest request);
  absl::StatusOr<v1::Camera> GetCamera(const v1::GetCameraRequest& request);
  absl::StatusOr<v1::Camera> UpsertCamera(
      const v1::UpsertCameraRequest& request);
  absl::StatusOr<v1::ImportCamerasResponse> ImportCameras(
      const v1::ImportCamerasRequest& request);

  // Until the call ends; returns how. kDeadlineExceeded: begin again.
  absl::Status WatchStreams(const v1::WatchStreamsRequest& request,
                            const TakeFn<v1::WatchStreamsResponse>& take);
  absl::Status WatchRecords(const v1::WatchRecordsRequest& request,
                            const TakeFn<v1::WatchRecordsResponse>& take);
  absl::Status WatchModels(const v1::WatchModelsRequest& request,
                           const TakeFn<v1::WatchModelsResponse>& take);

  // Ends the calls that go on, and those to come, with kCancelled.
  void Cancel();

 private:
  class Impl;
  const std::unique_ptr<Impl> impl_;
};

}  // namespace camherd::cli
