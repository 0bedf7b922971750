// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <grpcpp/support/server_callback.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "services/common/event_ring.h"
#include "services/common/grpc_status.h"
#include "services/common/watch_position.h"

namespace camherd {

// Watches that a service holds at once.
inline constexpr size_t kMaxWatches = 64;

// One call of a Watch RPC: tells what comes after its position in a ring of
// answers, one at a time; holds no thread and no queue. Its answers:
//
//   reset            the token was unknown or too old; the caller reads the
//                    list anew. With `replay`, what the ring has follows.
//   an event
//   only a token     all there is has been told: the first one as soon as the
//                    watch has caught up
//
// `Response` has resume_token and reset. Ends with kUnavailable when the ring
// is closed, kResourceExhausted at once where kMaxWatches run.
//
// Lives until gRPC is done with it. The ring outlives the server.
template <typename Response>
class GrpcWatch final
    : public grpc::ServerWriteReactor<Response>,
      public std::enable_shared_from_this<GrpcWatch<Response>> {
 public:
  using Ring = EventRing<Response>;
  using WantedFn = std::function<bool(const Response&)>;

  template <typename Request>
  static grpc::ServerWriteReactor<Response>* Start(
      grpc::CallbackServerContext* context, Ring& ring, const Request& request,
      WantedFn wanted = nullptr) {
    const auto call = std::make_shared<GrpcWatch>(context, ring);
    call->Begin(request.resume_token(), request.replay(), std::move(wanted));
    return call.get();
  }

  GrpcWatch(grpc::CallbackServerContext* context, Ring& ring)
      : context_(context), ring_(ring) {}

  void OnWriteDone(bool ok) override {
    {
      absl::MutexLock lock(&mu_);
      writing_ = false;
      if (!ok) cancelled_ = true;
    }
    Advance();
  }
  void OnCancel() override {
    {
      absl::MutexLock lock(&mu_);
      cancelled_ = true;
    }
    Advance();
  }
  void OnDone() override {
    if (listener_.has_value()) ring_.Unlisten(*listener_);
    self_.reset();
  }

 private:
  void Begin(const std::string& token, bool replay, WantedFn wanted) {
    self_ = this->shared_from_this();
    wanted_ = std::move(wanted);
    replay_ = replay;
    {
      absl::MutexLock lock(&mu_);
      // Nothing is told, nor ended, before all is set up.
      writing_ = true;
      if (!token.empty()) {
        // One that is none of ours is as one that is too old.
        position_ = WatchPosition::Parse(token).value_or(WatchPosition());
      } else if (!replay) {
        position_ = ring_.Newest();
      }
    }
    listener_ = ring_.Listen(
        [call = this->weak_from_this()] {
          if (const auto self = call.lock()) self->Advance();
        },
        kMaxWatches);
    {
      absl::MutexLock lock(&mu_);
      refused_ = !listener_.has_value();
      writing_ = false;
    }
    Advance();
  }

  // Writes the next answer, or ends the call.
  void Advance() {
    bool write = false;
    absl::Status end;
    {
      absl::MutexLock lock(&mu_);
      if (writing_ || finished_) return;
      if (cancelled_) {
        end = absl::CancelledError("the caller has gone");
      } else if (refused_) {
        end = absl::ResourceExhaustedError("too many watches run already");
      } else if (ring_.closed()) {
        end = absl::UnavailableError("the service is stopping");
      } else if (ReadNext()) {
        write = true;
      } else {
        return;
      }
      (write ? writing_ : finished_) = true;
    }
    // Without the lock: gRPC may call back from within.
    if (write) {
      this->StartWrite(&response_);
    } else {
      this->Finish(ToGrpcStatus(end, context_));
    }
  }

  // Fills in response_; false: nothing is to be told now.
  bool ReadNext() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    while (const auto item = ring_.Read(&position_)) {
      if (item->reset) {
        if (replay_) position_ = ring_.Oldest();
        caught_up_ = false;
        response_ = Response();
        response_.set_reset(true);
      } else if (wanted_ == nullptr || wanted_(*item->event)) {
        response_ = *item->event;
      } else {
        continue;
      }
      response_.set_resume_token(position_.ToToken());
      return true;
    }
    if (caught_up_) return false;
    caught_up_ = true;
    response_ = Response();
    response_.set_resume_token(position_.ToToken());
    return true;
  }

  grpc::CallbackServerContext* const context_;
  Ring& ring_;
  WantedFn wanted_;
  bool replay_ = false;
  std::optional<int64_t> listener_;
  // Until OnDone.
  std::shared_ptr<GrpcWatch> self_;
  // Written only by whoever set writing_.
  Response response_;

  absl::Mutex mu_;
  WatchPosition position_ ABSL_GUARDED_BY(mu_);
  bool caught_up_ ABSL_GUARDED_BY(mu_) = false;
  bool refused_ ABSL_GUARDED_BY(mu_) = false;
  bool cancelled_ ABSL_GUARDED_BY(mu_) = false;
  bool writing_ ABSL_GUARDED_BY(mu_) = false;
  bool finished_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace camherd
