// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstddef>

#include "camherd/v1/capture_service.grpc.pb.h"
#include "services/capture/capture_metrics.h"
#include "services/capture/source_prober.h"
#include "services/capture/stream_supervisor.h"
#include "services/common/worker_pool.h"

namespace camherd::capture {

// CaptureService over gRPC: translates, counts, and hands each call to a fixed
// number of threads, since the supervisor may block on disks and peers. Calls
// wait in a bounded queue; when it is full they are answered
// RESOURCE_EXHAUSTED at once. A call whose caller gave up while it waited is
// not run. Probes, which take up to a minute, have threads of their own and
// never wait for one.
//
// `Stop` is called after the server has stopped; it may be called twice.
class CaptureGrpcService : public v1::CaptureService::CallbackService {
 public:
  struct Options {
    size_t threads = 16;
    size_t queue = 256;
    // At once.
    size_t probes = 4;
  };

  // All must outlive it; `metrics` may be null.
  CaptureGrpcService(const Options& options, StreamSupervisor& supervisor,
                     SourceProber& prober, CaptureMetrics* metrics);

  void Stop() {
    calls_.Stop();
    probes_.Stop();
  }

  grpc::ServerUnaryReactor* StartStream(
      grpc::CallbackServerContext* context,
      const v1::StartStreamRequest* request,
      v1::StartStreamResponse* response) override;
  grpc::ServerUnaryReactor* StopStream(
      grpc::CallbackServerContext* context,
      const v1::StopStreamRequest* request,
      v1::StopStreamResponse* response) override;
  grpc::ServerUnaryReactor* GetStream(grpc::CallbackServerContext* context,
                                      const v1::GetStreamRequest* request,
                                      v1::Stream* response) override;
  grpc::ServerUnaryReactor* ListStreams(
      grpc::CallbackServerContext* context,
      const v1::ListStreamsRequest* request,
      v1::ListStreamsResponse* response) override;
  grpc::ServerUnaryReactor* UpdateStream(grpc::CallbackServerContext* context,
                                         const v1::UpdateStreamRequest* request,
                                         v1::Stream* response) override;
  grpc::ServerUnaryReactor* DeleteStream(
      grpc::CallbackServerContext* context,
      const v1::DeleteStreamRequest* request,
      v1::DeleteStreamResponse* response) override;
  grpc::ServerUnaryReactor* GetLatestFrame(
      grpc::CallbackServerContext* context,
      const v1::GetLatestFrameRequest* request,
      v1::GetLatestFrameResponse* response) override;
  grpc::ServerUnaryReactor* GetGrid(grpc::CallbackServerContext* context,
                                    const v1::GetGridRequest* request,
                                    v1::GetGridResponse* response) override;
  grpc::ServerWriteReactor<v1::WatchStreamsResponse>* WatchStreams(
      grpc::CallbackServerContext* context,
      const v1::WatchStreamsRequest* request) override;
  grpc::ServerWriteReactor<v1::ProbeSourceResponse>* ProbeSource(
      grpc::CallbackServerContext* context,
      const v1::ProbeSourceRequest* request) override;

 private:
  // `kMethod` is the supervisor's method of that name.
  template <auto kMethod, typename Request, typename Response>
  grpc::ServerUnaryReactor* Call(const char* name,
                                 grpc::CallbackServerContext* context,
                                 const Request* request, Response* response);

  const size_t max_probes_;
  StreamSupervisor& supervisor_;
  SourceProber& prober_;
  CaptureMetrics* const metrics_;
  std::atomic<size_t> probing_ = 0;
  WorkerPool calls_;
  WorkerPool probes_;
};

}  // namespace camherd::capture
