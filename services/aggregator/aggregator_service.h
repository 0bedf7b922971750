// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <grpcpp/support/server_callback.h>

#include <atomic>
#include <cstddef>
#include <memory>

#include "absl/time/time.h"
#include "camherd/v1/aggregator_service.grpc.pb.h"
#include "services/aggregator/batch_recorder.h"
#include "services/aggregator/camera_directory.h"
#include "services/aggregator/grid_archive.h"
#include "services/aggregator/prediction_record.h"
#include "services/aggregator/record_feed.h"
#include "services/aggregator/record_store.h"
#include "services/common/worker_pool.h"

namespace camherd::aggregator {

// AggregatorService over the core: translates, and moves what may block off
// gRPC's threads.
//
// Pictures of calls under way are bounded in bytes; past the bound, and when
// the queue of `calls` is full, a call is refused with RESOURCE_EXHAUSTED and a
// retry delay.
//
// Thread-safe. Outlives the server it is registered with.
class AggregatorServiceImpl final
    : public v1::AggregatorService::CallbackService {
 public:
  struct Options {
    // Pictures of one batch or grid.
    size_t max_batch_bytes = size_t{256} << 20;
    // Pictures of all calls under way.
    size_t max_inflight_bytes = size_t{256} << 20;
    // Exports at once, each of which takes a thread of gRPC's while it reads.
    int max_exports = 4;
    // An export ends whose reader takes nothing for so long, up to twice that.
    absl::Duration export_stall = absl::Seconds(60);
    // Of the lines that are exported; its timezone also of those imported.
    LineOptions line = {};
    absl::Duration retry_delay = absl::Seconds(5);
  };

  // All must outlive the service.
  AggregatorServiceImpl(const Options& options, BatchRecorder& recorder,
                        RecordStore& store, CameraDirectory& cameras,
                        GridArchive& grids, WorkerPool& calls);

  // Ends the watches, which nothing else does. Before the server stops.
  void StopWatches() { feed_->Stop(); }

  grpc::ServerReadReactor<v1::AddBatchResultRequest>* AddBatchResult(
      grpc::CallbackServerContext* context,
      v1::AddBatchResultResponse* response) override;
  grpc::ServerReadReactor<v1::RenderGridRequest>* RenderGrid(
      grpc::CallbackServerContext* context,
      v1::RenderGridResponse* response) override;
  grpc::ServerUnaryReactor* ListGrids(grpc::CallbackServerContext* context,
                                      const v1::ListGridsRequest* request,
                                      v1::ListGridsResponse* response) override;
  grpc::ServerUnaryReactor* ListRecords(
      grpc::CallbackServerContext* context,
      const v1::ListRecordsRequest* request,
      v1::ListRecordsResponse* response) override;
  grpc::ServerUnaryReactor* GetRecord(grpc::CallbackServerContext* context,
                                      const v1::GetRecordRequest* request,
                                      v1::Record* response) override;
  grpc::ServerUnaryReactor* GetRecordImage(
      grpc::CallbackServerContext* context,
      const v1::GetRecordImageRequest* request,
      v1::GetRecordImageResponse* response) override;
  grpc::ServerWriteReactor<v1::WatchRecordsResponse>* WatchRecords(
      grpc::CallbackServerContext* context,
      const v1::WatchRecordsRequest* request) override;
  grpc::ServerWriteReactor<v1::ExportRecordsResponse>* ExportRecords(
      grpc::CallbackServerContext* context,
      const v1::ExportRecordsRequest* request) override;
  grpc::ServerReadReactor<v1::ImportRecordsRequest>* ImportRecords(
      grpc::CallbackServerContext* context,
      v1::ImportRecordsResponse* response) override;
  grpc::ServerUnaryReactor* GetCamera(grpc::CallbackServerContext* context,
                                      const v1::GetCameraRequest* request,
                                      v1::Camera* response) override;
  grpc::ServerUnaryReactor* ListCameras(
      grpc::CallbackServerContext* context,
      const v1::ListCamerasRequest* request,
      v1::ListCamerasResponse* response) override;
  grpc::ServerUnaryReactor* UpsertCamera(grpc::CallbackServerContext* context,
                                         const v1::UpsertCameraRequest* request,
                                         v1::Camera* response) override;
  grpc::ServerUnaryReactor* ImportCameras(
      grpc::CallbackServerContext* context,
      const v1::ImportCamerasRequest* request,
      v1::ImportCamerasResponse* response) override;

 private:
  class AddBatchResultCall;
  class RenderGridCall;
  class ExportCall;
  class ImportCall;
  class HeldBytes;

  // Runs `work` on `calls_` and ends the call with its status.
  template <typename Work>
  grpc::ServerUnaryReactor* RunUnary(grpc::CallbackServerContext* context,
                                     Work work);
  absl::Status Busy(absl::string_view what) const;

  const Options options_;
  BatchRecorder& recorder_;
  RecordStore& store_;
  CameraDirectory& cameras_;
  GridArchive& grids_;
  // shared_ptr: the recorder wakes it, and may outlive the service.
  const std::shared_ptr<RecordFeed> feed_;
  WorkerPool& calls_;
  std::atomic<size_t> inflight_bytes_{0};
  std::atomic<int> exports_{0};
  std::atomic<bool> importing_{false};
  // An import waits for the store's commits; one runs at a time.
  WorkerPool imports_{1, 4};
};

}  // namespace camherd::aggregator
