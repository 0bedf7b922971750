// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "camherd/v1/aggregator_service.grpc.pb.h"
#include "services/common/grpc_status.h"

namespace camherd::testing {

// Answers GetRecord with the status it was given; can hold calls, to have some
// in flight.
//
// Thread-safe.
class FakeAggregator final
    : public camherd::v1::AggregatorService::CallbackService {
 public:
  grpc::ServerUnaryReactor* GetRecord(
      grpc::CallbackServerContext* context,
      const camherd::v1::GetRecordRequest* /*request*/,
      camherd::v1::Record* /*response*/) override {
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    absl::MutexLock lock(&mu_);
    ++calls_;
    deadline_ = absl::FromChrono(context->deadline());
    if (hold_) {
      held_ = reactor;
      held_context_ = context;
    } else {
      reactor->Finish(ToGrpcStatus(status_, context));
    }
    return reactor;
  }

  void set_status(absl::Status status) {
    absl::MutexLock lock(&mu_);
    status_ = std::move(status);
  }

  // The next call is not answered until Release().
  void Hold() {
    absl::MutexLock lock(&mu_);
    hold_ = true;
  }
  void Release() {
    absl::MutexLock lock(&mu_);
    hold_ = false;
    if (held_ != nullptr) held_->Finish(ToGrpcStatus(status_, held_context_));
    held_ = nullptr;
  }

  // Waits until a call is held.
  void WaitForHeldCall() {
    absl::MutexLock lock(&mu_);
    mu_.Await(absl::Condition(
        +[](grpc::ServerUnaryReactor** held) { return *held != nullptr; },
        &held_));
  }

  int calls() {
    absl::MutexLock lock(&mu_);
    return calls_;
  }

  // The deadline the last call came with.
  absl::Time deadline() {
    absl::MutexLock lock(&mu_);
    return deadline_;
  }

 private:
  absl::Mutex mu_;
  absl::Status status_ ABSL_GUARDED_BY(mu_);
  bool hold_ ABSL_GUARDED_BY(mu_) = false;
  int calls_ ABSL_GUARDED_BY(mu_) = 0;
  absl::Time deadline_ ABSL_GUARDED_BY(mu_);
  grpc::ServerUnaryReactor* held_ ABSL_GUARDED_BY(mu_) = nullptr;
  grpc::CallbackServerContext* held_context_ ABSL_GUARDED_BY(mu_) = nullptr;
};

}  // namespace camherd::testing
