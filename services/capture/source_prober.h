// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>

#include "absl/status/status.h"
#include "camherd/v1/capture_service.pb.h"
#include "camherd/v1/stream.pb.h"
#include "services/common/camera_url.h"

namespace camherd::capture {

// A camera to be tried, as a stream would have it.
struct ProbeTarget {
  CameraUrl url;
  v1::Transport transport = v1::TRANSPORT_TCP;
  bool tls_verify = true;
};

// Tries a camera step by step, from its name to the brightness of a picture.
//
// Thread-safe.
class SourceProber {
 public:
  using StepSink = std::function<void(v1::ProbeSourceResponse)>;

  virtual ~SourceProber() = default;

  // Blocks, and tells `on_step` each step from this thread as soon as it is
  // known; the first that failed is the last. OK: it went to its end, whatever
  // was found. kCancelled soon after `cancelled`, which is asked from any
  // thread, returns true.
  virtual absl::Status Probe(const ProbeTarget& target, const StepSink& on_step,
                             const std::function<bool()>& cancelled) = 0;
};

}  // namespace camherd::capture
