// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "camherd/v1/aggregator_service.pb.h"
#include "camherd/v1/capture_service.pb.h"
#include "camherd/v1/inference_service.pb.h"
#include "gateway/caller.h"
#include "services/common/grpc_security.h"

namespace camherd::gateway {

// The three services, as blocking calls with a deadline each.
//
// Errors are those of the service. A service that cannot be reached is
// kUnavailable, one that does not answer in time kDeadlineExceeded, both with a
// sentence that names the service instead of gRPC's own text.
//
// The services are told who calls (grpc_caller.h). A caller that is limited
// to certain cameras is given these only, here and nowhere else:
//  - lists leave the others out; their pages are as long as anybody's;
//  - a stream, record or camera that is another's is kNotFound, in the same
//    words as one that there is not;
//  - to start another's stream or to write its camera is kPermissionDenied,
//    whether there is one or not.
//
// Thread-safe.
class BackendClients {
 public:
  struct Options {
    // host:port, dns:///name:port or unix:path.
    std::string capture = "127.0.0.1:50051";
    std::string inference = "127.0.0.1:50052";
    std::string aggregator = "127.0.0.1:50053";
    GrpcSecurity security = {};
    // Reads and small changes.
    absl::Duration timeout = absl::Seconds(5);
    // StartStream asks for its models, StopStream waits for the grid.
    absl::Duration start_timeout = absl::Seconds(15);
    absl::Duration stop_timeout = absl::Seconds(10);
    absl::Duration detect_timeout = absl::Seconds(30);
    // A probe looks at pictures for 20 s, and may wait 30 s before.
    absl::Duration probe_timeout = absl::Seconds(60);
    // ExportRecords, which takes as long as its reader, and the watches, which
    // are begun again then.
    absl::Duration stream_timeout = absl::Hours(1);
    // The health check behind /readyz.
    absl::Duration health_timeout = absl::Seconds(1);
  };

  // Whoever calls may do everything, and has no name.
  explicit BackendClients(const Options& options);
  ~BackendClients();
  BackendClients(BackendClients&&) noexcept;

  // The same services, over the same connections, as `caller` may use them.
  BackendClients As(const Caller& caller) const;

  absl::StatusOr<v1::StartStreamResponse> StartStream(
      const v1::StartStreamRequest& request);
  absl::StatusOr<v1::StopStreamResponse> StopStream(
      const v1::StopStreamRequest& request);
  absl::StatusOr<v1::Stream> GetStream(const v1::GetStreamRequest& request);
  absl::StatusOr<v1::ListStreamsResponse> ListStreams(
      const v1::ListStreamsRequest& request);
  absl::StatusOr<v1::Stream> UpdateStream(
      const v1::UpdateStreamRequest& request);
  absl::StatusOr<v1::DeleteStreamResponse> DeleteStream(
      const v1::DeleteStreamRequest& request);
  absl::StatusOr<v1::GetLatestFrameResponse> GetLatestFrame(
      const v1::GetLatestFrameRequest& request);
  absl::StatusOr<v1::GetGridResponse> GetGrid(
      const v1::GetGridRequest& request);
  // All steps, once the last is known.
  absl::StatusOr<std::vector<v1::ProbeSourceResponse>> ProbeSource(
      const v1::ProbeSourceRequest& request);

  absl::StatusOr<v1::ListModelsResponse> ListModels();
  absl::StatusOr<v1::Model> GetModel(const v1::GetModelRequest& request);
  // Starts the preparation and returns the first state it reports; it goes on
  // without the caller.
  absl::StatusOr<v1::Model> PrepareModel(
      const v1::PrepareModelRequest& request);
  absl::StatusOr<v1::Model> UnloadModel(const v1::UnloadModelRequest& request);
  absl::StatusOr<v1::DetectResponse> Detect(const v1::DetectRequest& request);

  absl::StatusOr<v1::ListRecordsResponse> ListRecords(
      const v1::ListRecordsRequest& request);
  absl::StatusOr<v1::Record> GetRecord(const v1::GetRecordRequest& request);
  absl::StatusOr<v1::GetRecordImageResponse> GetRecordImage(
      const v1::GetRecordImageRequest& request);
  // Gives the next piece of a file, "" at its end.
  using PieceReader = std::function<absl::StatusOr<std::string>()>;
  // Answers when there is a first piece: a request that is refused has none.
  // The call ends with the last copy of the reader, which these clients must
  // outlive.
  absl::StatusOr<PieceReader> ExportRecords(
      const v1::ExportRecordsRequest& request);
  absl::StatusOr<v1::ListGridsResponse> ListGrids(
      const v1::ListGridsRequest& request);
  absl::StatusOr<v1::ListCamerasResponse> ListCameras(
      const v1::ListCamerasRequest& request);
  absl::StatusOr<v1::Camera> GetCamera(const v1::GetCameraRequest& request);
  absl::StatusOr<v1::Camera> UpsertCamera(
      const v1::UpsertCameraRequest& request);
  absl::StatusOr<v1::ImportCamerasResponse> ImportCameras(
      const v1::ImportCamerasRequest& request);

  // Watch until the call ends, and return how it did. `take` is called with
  // each answer; kDeadlineExceeded: it may be begun again where it stood.
  template <typename Answer>
  using TakeFn = std::function<void(const Answer&)>;
  absl::Status WatchStreams(const v1::WatchStreamsRequest& request,
                            const TakeFn<v1::WatchStreamsResponse>& take);
  absl::Status WatchRecords(const v1::WatchRecordsRequest& request,
                            const TakeFn<v1::WatchRecordsResponse>& take);
  absl::Status WatchModels(const v1::WatchModelsRequest& request,
                           const TakeFn<v1::WatchModelsResponse>& take);

  // What grpc.health.v1 answers for each service: OK, or why not.
  struct Health {
    absl::Status capture;
    absl::Status inference;
    absl::Status aggregator;
  };
  Health CheckHealth();

  // Ends all calls, those in flight and those to come, with kCancelled.
  void Cancel();

 private:
  class Impl;
  explicit BackendClients(std::unique_ptr<Impl> impl);

  std::unique_ptr<Impl> impl_;
};

}  // namespace camherd::gateway
