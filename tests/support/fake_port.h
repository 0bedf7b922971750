// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "services/capture/camera_connection.h"

namespace camherd::testing {

// A port of a camera that answers each request, in order, with a text of the
// test, in small pieces, and closes when it has no more to say.
//
// Not thread-safe; must outlive its connections.
class FakePort {
 public:
  capture::CameraConnectionFactory Connections() {
    return [this](const std::function<bool()>&) {
      ++connections_;
      return std::make_unique<Connection>(*this);
    };
  }

  // What Open answers.
  absl::Status opens;
  // What the n-th request is answered; "": nothing, by closing.
  std::vector<std::string> answers;
  size_t bytes_a_read = 7;

  int connections() const { return connections_; }
  int closed() const { return closed_; }
  const std::vector<std::string>& requests() const { return requests_; }
  const capture::CameraConnection::Target& target() const { return target_; }

 private:
  class Connection : public capture::CameraConnection {
   public:
    explicit Connection(FakePort& port) : port_(port) {}
    ~Connection() override { ++port_.closed_; }

    absl::Status Open(const Target& target, absl::Duration) override {
      port_.target_ = target;
      return port_.opens;
    }
    absl::Status Write(absl::string_view bytes, absl::Duration) override {
      const size_t number = port_.requests_.size();
      port_.requests_.emplace_back(bytes);
      if (number < port_.answers.size()) pending_ += port_.answers[number];
      return absl::OkStatus();
    }
    absl::StatusOr<std::string> Read(absl::Duration) override {
      if (pending_.empty()) {
        return absl::UnavailableError("the camera closed the connection");
      }
      const size_t size = std::min(pending_.size(), port_.bytes_a_read);
      std::string bytes = pending_.substr(0, size);
      pending_.erase(0, size);
      return bytes;
    }

   private:
    FakePort& port_;
    std::string pending_;
  };

  int connections_ = 0;
  int closed_ = 0;
  std::vector<std::string> requests_;
  capture::CameraConnection::Target target_;
};

}  // namespace camherd::testing
