// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <grpcpp/client_context.h>

#include <set>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace camherd::capture {

// Client calls in flight, so that a stopping service can cancel them all.
//
// Thread-safe. Included by the *_client.cc files only.
class CallRegistry {
 public:
  // Registers `context` for as long as it lives; cancels it at once if
  // CancelAll was called before.
  class Scope {
   public:
    Scope(CallRegistry& registry, grpc::ClientContext& context)
        : registry_(registry), context_(context) {
      absl::MutexLock lock(&registry_.mu_);
      registry_.calls_.insert(&context_);
      if (registry_.cancelled_) context_.TryCancel();
    }
    ~Scope() {
      absl::MutexLock lock(&registry_.mu_);
      registry_.calls_.erase(&context_);
    }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    CallRegistry& registry_;
    grpc::ClientContext& context_;
  };

  void CancelAll() {
    absl::MutexLock lock(&mu_);
    cancelled_ = true;
    for (grpc::ClientContext* context : calls_) context->TryCancel();
  }

 private:
  absl::Mutex mu_;
  std::set<grpc::ClientContext*> calls_ ABSL_GUARDED_BY(mu_);
  bool cancelled_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace camherd::capture
