// SPDX-License-Identifier: Apache-2.0
#include "services/capture/capture_service.h"

#include <deque>
#include <memory>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "services/capture/probe_request.h"
#include "services/common/grpc_status.h"
#include "services/common/grpc_watch.h"
#include "services/common/retry_delay.h"

namespace camherd::capture {
namespace {

// Told to those who come while as many probes run as may.
constexpr absl::Duration kProbeRetry = absl::Seconds(5);

// One ProbeSource: writes the steps one after the other as they come. Lives
// until gRPC is done with it and the probe no longer holds it.
class ProbeSourceCall final
    : public grpc::ServerWriteReactor<v1::ProbeSourceResponse>,
      public std::enable_shared_from_this<ProbeSourceCall> {
 public:
  ProbeSourceCall(grpc::CallbackServerContext* context, CaptureMetrics* metrics)
      : context_(context), metrics_(metrics) {}

  // To be called first.
  void Hold() { self_ = shared_from_this(); }

  // The caller has gone. From any thread.
  bool cancelled() const { return cancelled_; }

  void Step(v1::ProbeSourceResponse step) {
    {
      absl::MutexLock lock(&mu_);
      steps_.push_back(std::move(step));
    }
    Advance();
  }
  // No step comes any more; called once.
  void End(const absl::Status& status) {
    {
      absl::MutexLock lock(&mu_);
      ended_ = true;
      end_ = status;
    }
    Advance();
  }

  void OnWriteDone(bool /*ok*/) override {
    {
      absl::MutexLock lock(&mu_);
      writing_ = false;
    }
    Advance();
  }
  void OnCancel() override { cancelled_ = true; }
  void OnDone() override { self_.reset(); }

 private:
  // Writes the next step, or ends the call after the last.
  void Advance() {
    bool write = false;
    absl::Status end;
    {
      absl::MutexLock lock(&mu_);
      if (writing_ || finished_) return;
      write = !steps_.empty();
      if (write) {
        response_ = std::move(steps_.front());
        steps_.pop_front();
      } else if (!ended_) {
        return;
      }
      (write ? writing_ : finished_) = true;
      end = end_;
    }
    // Without the lock: gRPC may call back from within.
    if (write) {
      StartWrite(&response_);
      return;
    }
    if (metrics_ != nullptr) metrics_->RpcAnswered("ProbeSource", end.code());
    Finish(ToGrpcStatus(end, context_));
  }

  grpc::CallbackServerContext* const context_;
  CaptureMetrics* const metrics_;
  // Until OnDone; the probe holds a copy.
  std::shared_ptr<ProbeSourceCall> self_;
  std::atomic<bool> cancelled_ = false;
  // Written only by whoever set writing_.
  v1::ProbeSourceResponse response_;

  absl::Mutex mu_;
  // At most one of each kind.
  std::deque<v1::ProbeSourceResponse> steps_ ABSL_GUARDED_BY(mu_);
  absl::Status end_ ABSL_GUARDED_BY(mu_);
  bool ended_ ABSL_GUARDED_BY(mu_) = false;
  bool writing_ ABSL_GUARDED_BY(mu_) = false;
  bool finished_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace

CaptureGrpcService::CaptureGrpcService(const Options& options,
                                       StreamSupervisor& supervisor,
                                       SourceProber& prober,
                                       CaptureMetrics* metrics)
    : max_probes_(options.probes),
      supervisor_(supervisor),
      prober_(prober),
      metrics_(metrics),
      calls_(options.threads, options.queue),
      probes_(options.probes, options.probes) {}

template <auto kMethod, typename Request, typename Response>
grpc::ServerUnaryReactor* CaptureGrpcService::Call(
    const char* name, grpc::CallbackServerContext* context,
    const Request* request, Response* response) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  const auto finish = [this, name, context,
                       reactor](const absl::Status& status) {
    if (metrics_ != nullptr) metrics_->RpcAnswered(name, status.code());
    reactor->Finish(ToGrpcStatus(status, context));
  };
  // Request and response live until Finish.
  const bool queued = calls_.TryRun([this, finish, context, request, response] {
    // Nobody waits any more for a call that waited here for too long.
    if (context->IsCancelled()) {
      finish(absl::CancelledError("the caller has gone"));
      return;
    }
    absl::StatusOr<Response> answer = (supervisor_.*kMethod)(*request);
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
  return Call<&StreamSupervisor::StartStream>("StartStream", context, request,
                                              response);
}

grpc::ServerUnaryReactor* CaptureGrpcService::StopStream(
    grpc::CallbackServerContext* context, const v1::StopStreamRequest* request,
    v1::StopStreamResponse* response) {
  return Call<&StreamSupervisor::StopStream>("StopStream", context, request,
                                             response);
}

grpc::ServerUnaryReactor* CaptureGrpcService::GetStream(
    grpc::CallbackServerContext* context, const v1::GetStreamRequest* request,
    v1::Stream* response) {
  return Call<&StreamSupervisor::GetStream>("GetStream", context, request,
                                            response);
}

grpc::ServerUnaryReactor* CaptureGrpcService::ListStreams(
    grpc::CallbackServerContext* context, const v1::ListStreamsRequest* request,
    v1::ListStreamsResponse* response) {
  return Call<&StreamSupervisor::ListStreams>("ListStreams", context, request,
                                              response);
}

grpc::ServerUnaryReactor* CaptureGrpcService::UpdateStream(
    grpc::CallbackServerContext* context,
    const v1::UpdateStreamRequest* request, v1::Stream* response) {
  return Call<&StreamSupervisor::UpdateStream>("UpdateStream", context, request,
                                               response);
}

grpc::ServerUnaryReactor* CaptureGrpcService::DeleteStream(
    grpc::CallbackServerContext* context,
    const v1::DeleteStreamRequest* request,
    v1::DeleteStreamResponse* response) {
  return Call<&StreamSupervisor::DeleteStream>("DeleteStream", context, request,
                                               response);
}

grpc::ServerUnaryReactor* CaptureGrpcService::GetLatestFrame(
    grpc::CallbackServerContext* context,
    const v1::GetLatestFrameRequest* request,
    v1::GetLatestFrameResponse* response) {
  return Call<&StreamSupervisor::GetLatestFrame>("GetLatestFrame", context,
                                                 request, response);
}

grpc::ServerUnaryReactor* CaptureGrpcService::GetGrid(
    grpc::CallbackServerContext* context, const v1::GetGridRequest* request,
    v1::GetGridResponse* response) {
  return Call<&StreamSupervisor::GetGrid>("GetGrid", context, request,
                                          response);
}

grpc::ServerWriteReactor<v1::WatchStreamsResponse>*
CaptureGrpcService::WatchStreams(grpc::CallbackServerContext* context,
                                 const v1::WatchStreamsRequest* request) {
  return GrpcWatch<v1::WatchStreamsResponse>::Start(
      context, supervisor_.events(), *request);
}

grpc::ServerWriteReactor<v1::ProbeSourceResponse>*
CaptureGrpcService::ProbeSource(grpc::CallbackServerContext* context,
                                const v1::ProbeSourceRequest* request) {
  const auto call = std::make_shared<ProbeSourceCall>(context, metrics_);
  call->Hold();
  absl::StatusOr<ProbeTarget> target = CheckProbeRequest(*request);
  if (!target.ok()) {
    call->End(target.status());
    return call.get();
  }
  const auto probe = [this, call, target = *std::move(target)] {
    const absl::Status status = prober_.Probe(
        target,
        [&call](v1::ProbeSourceResponse step) { call->Step(std::move(step)); },
        [&call] { return call->cancelled(); });
    --probing_;
    call->End(status);
  };
  const bool room = ++probing_ <= max_probes_;
  if (!room || !probes_.TryRun(probe)) {
    --probing_;
    call->End(
        WithRetryDelay(absl::ResourceExhaustedError(absl::StrCat(
                           "capture.max_probes (", max_probes_,
                           ") probes run already; try again in a moment")),
                       kProbeRetry));
  }
  return call.get();
}

}  // namespace camherd::capture
