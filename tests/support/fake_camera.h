// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <variant>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "services/capture/packet_source.h"

namespace camherd::testing {

// A camera made of scripted connections: what each Open answers, then the
// access units and errors that its Reads give, in order. A Read waits while
// there is nothing, until Cancel.
//
// Thread-safe; must outlive its sources.
class FakeCamera {
 public:
  // The factory for a StreamWorker.
  capture::PacketSourceFactory Sources() {
    return [this](const CameraUrl& url,
                  const capture::PacketSource::Options& options) {
      absl::MutexLock lock(&mu_);
      ++connections_;
      last_url_ = url.Full();
      last_options_ = options;
      return std::make_unique<Source>(*this);
    };
  }

  // The answer of the next Open that has none; without any, H.264.
  void AnswerOpen(absl::StatusOr<capture::VideoParameters> answer) {
    absl::MutexLock lock(&mu_);
    opens_.push_back(std::move(answer));
  }
  void Send(capture::AccessUnit unit) {
    absl::MutexLock lock(&mu_);
    items_.push_back(std::move(unit));
  }
  // Ends the connection.
  void Fail(absl::Status status) {
    absl::MutexLock lock(&mu_);
    items_.push_back(std::move(status));
  }

  int connections() const {
    absl::MutexLock lock(&mu_);
    return connections_;
  }
  int closed() const {
    absl::MutexLock lock(&mu_);
    return closed_;
  }
  std::string last_url() const {
    absl::MutexLock lock(&mu_);
    return last_url_;
  }
  capture::PacketSource::Options last_options() const {
    absl::MutexLock lock(&mu_);
    return last_options_;
  }
  // Waits until so many sources were made, and all that was sent was read.
  bool WaitForConnections(int count) {
    absl::MutexLock lock(&mu_);
    const auto enough = [&] {
      mu_.AssertReaderHeld();
      return connections_ >= count;
    };
    return mu_.AwaitWithTimeout(absl::Condition(&enough), absl::Seconds(10));
  }
  bool WaitUntilRead() {
    absl::MutexLock lock(&mu_);
    const auto empty = [&] {
      mu_.AssertReaderHeld();
      return items_.empty() && waiting_;
    };
    return mu_.AwaitWithTimeout(absl::Condition(&empty), absl::Seconds(10));
  }

 private:
  class Source : public capture::PacketSource {
   public:
    explicit Source(FakeCamera& camera) : camera_(camera) {}
    ~Source() override {
      absl::MutexLock lock(&camera_.mu_);
      ++camera_.closed_;
    }

    absl::StatusOr<capture::VideoParameters> Open() override {
      absl::MutexLock lock(&camera_.mu_);
      if (cancelled_) return absl::CancelledError("cancelled");
      if (camera_.opens_.empty()) return capture::VideoParameters{};
      absl::StatusOr<capture::VideoParameters> answer =
          std::move(camera_.opens_.front());
      camera_.opens_.pop_front();
      return answer;
    }

    absl::StatusOr<capture::AccessUnit> Read() override {
      absl::MutexLock lock(&camera_.mu_);
      camera_.waiting_ = true;
      const auto ready = [&] {
        camera_.mu_.AssertReaderHeld();
        return cancelled_ || !camera_.items_.empty();
      };
      camera_.mu_.Await(absl::Condition(&ready));
      camera_.waiting_ = false;
      if (cancelled_) return absl::CancelledError("cancelled");
      std::variant<capture::AccessUnit, absl::Status> item =
          std::move(camera_.items_.front());
      camera_.items_.pop_front();
      if (std::holds_alternative<absl::Status>(item)) {
        return std::get<absl::Status>(item);
      }
      bytes_ += static_cast<int64_t>(
          std::get<capture::AccessUnit>(item).data->size());
      return std::get<capture::AccessUnit>(std::move(item));
    }

    void Cancel() override {
      absl::MutexLock lock(&camera_.mu_);
      cancelled_ = true;
    }
    std::string local_ip() const override { return "192.0.2.7"; }
    int64_t received_bytes() const override { return bytes_; }

   private:
    FakeCamera& camera_;
    // Guarded by the camera's mutex.
    bool cancelled_ = false;
    int64_t bytes_ = 0;
  };

  mutable absl::Mutex mu_;
  std::deque<absl::StatusOr<capture::VideoParameters>> opens_
      ABSL_GUARDED_BY(mu_);
  std::deque<std::variant<capture::AccessUnit, absl::Status>> items_
      ABSL_GUARDED_BY(mu_);
  int connections_ ABSL_GUARDED_BY(mu_) = 0;
  int closed_ ABSL_GUARDED_BY(mu_) = 0;
  bool waiting_ ABSL_GUARDED_BY(mu_) = false;
  std::string last_url_ ABSL_GUARDED_BY(mu_);
  capture::PacketSource::Options last_options_ ABSL_GUARDED_BY(mu_);
};

}  // namespace camherd::testing
