// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>

#include "services/capture/camera_connection.h"
#include "services/common/clock.h"

struct AVIOContext;

namespace camherd::capture {

// A CameraConnection by libavformat's tcp and tls, the same as a
// LibavPacketSource has below it: what connects here connects there.
//
// Used by one thread.
class LibavConnection final : public CameraConnection {
 public:
  // `clock` must outlive it.
  LibavConnection(std::function<bool()> cancelled, Clock& clock);
  ~LibavConnection() override;

  LibavConnection(const LibavConnection&) = delete;
  LibavConnection& operator=(const LibavConnection&) = delete;

  absl::Status Open(const Target& target, absl::Duration deadline) override;
  absl::Status Write(absl::string_view bytes, absl::Duration deadline) override;
  absl::StatusOr<std::string> Read(absl::Duration deadline) override;

 private:
  static int OnInterrupt(void* self);
  void Arm(absl::Duration deadline);
  // What the library's code of a failed call stands for.
  absl::Status Reason(int error) const;

  const std::function<bool()> cancelled_;
  Clock& clock_;
  AVIOContext* context_ = nullptr;
  // host:port, for messages.
  std::string peer_;
  bool tls_ = false;
  bool open_ = false;
  absl::Duration deadline_ = absl::InfiniteDuration();
  // The deadline has passed, or the caller has gone, during the call.
  bool expired_ = false;
  bool gone_ = false;
};

// `clock` must outlive all it makes.
CameraConnectionFactory MakeLibavConnections(Clock& clock);

}  // namespace camherd::capture
