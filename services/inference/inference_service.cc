// SPDX-License-Identifier: Apache-2.0
#include "services/inference/inference_service.h"

#include <grpcpp/alarm.h>

#include <atomic>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "services/common/clock.h"
#include "services/common/grpc_status.h"
#include "services/common/grpc_watch.h"
#include "services/common/retry_delay.h"

namespace camherd::inference {
namespace {

using camherd::v1::InferBatchRequest;
using camherd::v1::InferBatchResponse;
using camherd::v1::Model;
using camherd::v1::PrepareModelResponse;
using camherd::v1::WatchModelsRequest;
using camherd::v1::WatchModelsResponse;

// One InferBatch: reads the header, then the frames, hands the batch over and
// answers. Lives until gRPC is done with it and nothing else (the alarm, the
// core) still holds it.
class InferBatchCall final
    : public grpc::ServerReadReactor<InferBatchRequest>,
      public std::enable_shared_from_this<InferBatchCall> {
 public:
  InferBatchCall(grpc::CallbackServerContext* context,
                 InferBatchResponse* response, InferenceCore& core,
                 InferenceMetrics* metrics)
      : context_(context),
        response_(response),
        core_(core),
        metrics_(metrics) {}

  void Start(absl::Duration receive_timeout) {
    self_ = shared_from_this();
    // Weak, since the alarm, which is ours, keeps its callback.
    alarm_.Set(
        absl::ToChronoTime(Clock::Real().Now() + receive_timeout),
        [call = weak_from_this(), receive_timeout](bool ok) {
          const auto self = call.lock();
          if (!ok || self == nullptr) return;
          self->FinishWhileReading(WithoutEffect(absl::DeadlineExceededError(
              absl::StrCat("the frames did not come within ",
                           absl::FormatDuration(receive_timeout)))));
        });
    StartRead(&request_);
  }

  void OnReadDone(bool ok) override {
    absl::Status status;
    {
      absl::MutexLock lock(&mu_);
      if (finished_) return;
      if (!ok) {
        // All has been sent, or the client has gone.
        if (batch_ == nullptr) {
          status = absl::InvalidArgumentError("header must come first");
        } else {
          finished_ = true;
        }
      } else {
        status = Take();
      }
    }
    if (!status.ok()) {
      FinishWhileReading(status);
    } else if (ok) {
      StartRead(&request_);
    } else {
      alarm_.Cancel();
      core_.Run(std::move(batch_), cancelled_,
                [self = self_](absl::StatusOr<InferBatchResponse> response) {
                  if (response.ok()) *self->response_ = *std::move(response);
                  self->Answer(response.status());
                });
    }
  }

  void OnCancel() override {
    *cancelled_ = true;
    FinishWhileReading(absl::CancelledError("the sender has gone"));
  }

  void OnDone() override {
    alarm_.Cancel();
    self_.reset();
  }

 private:
  // The message that was read.
  absl::Status Take() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    if (request_.has_header()) {
      if (batch_ != nullptr) {
        return absl::InvalidArgumentError("header must come only once");
      }
      auto admitted = core_.Admit(std::move(*request_.mutable_header()));
      if (!admitted.ok()) return admitted.status();
      batch_ = *std::move(admitted);
      return absl::OkStatus();
    }
    if (batch_ == nullptr) {
      return absl::InvalidArgumentError("header must come first");
    }
    if (!request_.has_frame()) {
      return absl::InvalidArgumentError("a message must hold header or frame");
    }
    return batch_->AddFrame(std::move(*request_.mutable_frame()));
  }

  // Answers unless the batch has been handed over or answered already.
  void FinishWhileReading(const absl::Status& status) {
    std::unique_ptr<InferenceCore::Batch> given_up;
    {
      absl::MutexLock lock(&mu_);
      if (finished_) return;
      finished_ = true;
      given_up = std::move(batch_);
    }
    given_up.reset();
    alarm_.Cancel();
    Answer(status);
  }

  void Answer(const absl::Status& status) {
    if (metrics_ != nullptr) metrics_->BatchAnswered(status);
    Finish(ToGrpcStatus(status, context_));
  }

  grpc::CallbackServerContext* const context_;
  InferBatchResponse* const response_;
  InferenceCore& core_;
  InferenceMetrics* const metrics_;
  const InferenceCore::Cancelled cancelled_ =
      std::make_shared<std::atomic<bool>>(false);
  // Keeps this alive until OnDone; others hold copies.
  std::shared_ptr<InferBatchCall> self_;
  grpc::Alarm alarm_;
  InferBatchRequest request_;

  absl::Mutex mu_;
  // Collects frames; null before the header and after it was handed over.
  std::unique_ptr<InferenceCore::Batch> batch_;
  // Handed over or answered: whoever sets it goes on.
  bool finished_ ABSL_GUARDED_BY(mu_) = false;
};

// One PrepareModel: writes the model's state whenever it changed. Changes that
// come while a write is under way are folded into one.
class PrepareModelCall final
    : public grpc::ServerWriteReactor<PrepareModelResponse>,
      public std::enable_shared_from_this<PrepareModelCall> {
 public:
  PrepareModelCall(grpc::CallbackServerContext* context,
                   ModelRegistry& registry)
      : context_(context), registry_(registry) {}

  void Start(const std::string& name, bool rebuild) {
    self_ = shared_from_this();
    name_ = name;
    rebuild_ = rebuild;
    // Before Prepare, so that no change is missed.
    watch_ = registry_.Watch(name, [call = weak_from_this()] {
      if (const auto self = call.lock()) self->Write();
    });
    {
      // What changes until Prepare has answered is not yet ours to tell.
      absl::MutexLock lock(&mu_);
      writing_ = true;
    }
    const absl::StatusOr<Model> prepared = registry_.Prepare(name, rebuild);
    absl::Status status = prepared.status();
    {
      absl::MutexLock lock(&mu_);
      writing_ = false;
      if (!status.ok()) finished_ = true;
    }
    if (!status.ok()) {
      Finish(ToGrpcStatus(status, context_));
      return;
    }
    Write();
  }

  void OnWriteDone(bool ok) override {
    {
      absl::MutexLock lock(&mu_);
      writing_ = false;
      if (!ok) cancelled_ = true;
    }
    Write();
  }

  void OnCancel() override {
    {
      absl::MutexLock lock(&mu_);
      cancelled_ = true;
    }
    Write();
  }

  void OnDone() override {
    registry_.Unwatch(watch_);
    self_.reset();
  }

 private:
  // Writes the state if it is new, or ends the call after the last one.
  void Write() {
    absl::Status end;
    bool write = false;
    {
      absl::MutexLock lock(&mu_);
      if (finished_ || writing_) return;
      const absl::StatusOr<Model> model = registry_.Get(name_);
      if (cancelled_) {
        end = absl::CancelledError("the caller has gone");
      } else if (!model.ok()) {
        end = model.status();
      } else if (last_written_) {
        const Model& last = response_.model();
        if (last.state() != camherd::v1::MODEL_STATE_READY ||
            (rebuild_ && !last.reason().empty())) {
          end = absl::FailedPreconditionError(last.reason());
        }
      } else if (std::string state = model->SerializeAsString();
                 state != written_) {
        written_ = std::move(state);
        last_written_ = !model->preparing();
        *response_.mutable_model() = *model;
        write = true;
      } else {
        return;
      }
      (write ? writing_ : finished_) = true;
    }
    // Without the lock: gRPC may call back from within.
    if (write) {
      StartWrite(&response_);
    } else {
      Finish(ToGrpcStatus(end, context_));
    }
  }

  grpc::CallbackServerContext* const context_;
  ModelRegistry& registry_;
  std::string name_;
  bool rebuild_ = false;
  int64_t watch_ = 0;
  std::shared_ptr<PrepareModelCall> self_;  // Until OnDone.
  // Written only by whoever set writing_.
  PrepareModelResponse response_;

  absl::Mutex mu_;
  std::string written_ ABSL_GUARDED_BY(mu_);
  // What was written is how it ended.
  bool last_written_ ABSL_GUARDED_BY(mu_) = false;
  bool writing_ ABSL_GUARDED_BY(mu_) = false;
  bool cancelled_ ABSL_GUARDED_BY(mu_) = false;
  bool finished_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace

grpc::ServerReadReactor<InferBatchRequest>* InferenceServiceImpl::InferBatch(
    grpc::CallbackServerContext* context, InferBatchResponse* response) {
  const auto call =
      std::make_shared<InferBatchCall>(context, response, core_, metrics_);
  call->Start(options_.receive_timeout);
  return call.get();
}

grpc::ServerUnaryReactor* InferenceServiceImpl::Detect(
    grpc::CallbackServerContext* context,
    const camherd::v1::DetectRequest* request,
    camherd::v1::DetectResponse* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  core_.Detect(*request,
               [reactor, context,
                response](absl::StatusOr<camherd::v1::DetectResponse> answer) {
                 if (answer.ok()) *response = *std::move(answer);
                 reactor->Finish(ToGrpcStatus(answer.status(), context));
               });
  return reactor;
}

grpc::ServerUnaryReactor* InferenceServiceImpl::ListModels(
    grpc::CallbackServerContext* context,
    const camherd::v1::ListModelsRequest* /*request*/,
    camherd::v1::ListModelsResponse* response) {
  for (Model& model : registry_.List()) {
    *response->add_models() = std::move(model);
  }
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(grpc::Status::OK);
  return reactor;
}

grpc::ServerUnaryReactor* InferenceServiceImpl::GetModel(
    grpc::CallbackServerContext* context,
    const camherd::v1::GetModelRequest* request, Model* response) {
  const absl::StatusOr<Model> model = registry_.Get(request->name());
  if (model.ok()) *response = *model;
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(ToGrpcStatus(model.status(), context));
  return reactor;
}

grpc::ServerWriteReactor<PrepareModelResponse>*
InferenceServiceImpl::PrepareModel(
    grpc::CallbackServerContext* context,
    const camherd::v1::PrepareModelRequest* request) {
  const auto call = std::make_shared<PrepareModelCall>(context, registry_);
  call->Start(request->name(), request->rebuild());
  return call.get();
}

grpc::ServerUnaryReactor* InferenceServiceImpl::UnloadModel(
    grpc::CallbackServerContext* context,
    const camherd::v1::UnloadModelRequest* request, Model* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  // Ending a worker takes a moment.
  const bool running = core_.RunBlocking(
      [this, reactor, context, response, name = request->name()] {
        const absl::StatusOr<Model> model = registry_.Unload(name);
        if (model.ok()) *response = *model;
        reactor->Finish(ToGrpcStatus(model.status(), context));
      });
  if (!running) {
    reactor->Finish(ToGrpcStatus(
        absl::ResourceExhaustedError("too much is waiting"), context));
  }
  return reactor;
}

grpc::ServerWriteReactor<WatchModelsResponse>*
InferenceServiceImpl::WatchModels(grpc::CallbackServerContext* context,
                                  const WatchModelsRequest* request) {
  return GrpcWatch<WatchModelsResponse>::Start(context, feed_.ring(), *request);
}

}  // namespace camherd::inference
