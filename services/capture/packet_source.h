// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "camherd/v1/stream.pb.h"
#include "services/common/camera_url.h"

namespace camherd::capture {

enum class Codec { kH264, kH265, kMjpeg, kMpeg4 };

// What a decoder needs to know before the first access unit.
struct VideoParameters {
  Codec codec = Codec::kH264;
  // Codec-specific header (SPS and PPS in Annex B, from the SDP); may be empty.
  std::string extradata;
};

// One coded picture.
struct AccessUnit {
  // shared_ptr: the GOP buffer and the decode job both hold it.
  std::shared_ptr<const std::string> data;
  bool keyframe = false;
  // The camera's time stamp, 90 kHz; INT64_MIN: none.
  int64_t pts = INT64_MIN;
  // Packets have been lost that were part of it, or came just before it.
  bool after_loss = false;
  // Steady clock at receipt, and the wall clock of the same moment.
  absl::Duration arrival;
  absl::Time wall;
};

// One connection to a camera: receives access units, decodes nothing.
//
// Used by one thread, except Cancel.
class PacketSource {
 public:
  struct Options {
    v1::Transport transport = v1::TRANSPORT_TCP;
    absl::Duration connect_timeout = absl::Seconds(30);
    absl::Duration stall_timeout = absl::Seconds(10);
    // Of an rtsps camera the certificate must be good for the URL's host, and
    // go back to one of `tls_ca_file` (PEM; empty: the system's).
    bool tls_verify = true;
    std::string tls_ca_file = {};
  };

  virtual ~PacketSource() = default;

  // Connects up to PLAY. Errors, each with a sentence for people:
  //   kUnauthenticated  401, 403           kNotFound          404
  //   kResourceExhausted 453, 455, 503     kUnimplemented     codec, named
  //   kFailedPrecondition no video track
  //   kPermissionDenied address refused by us, or certificate not trusted
  //   kDeadlineExceeded too slow           kCancelled         Cancel()
  //   kUnavailable      all else: refused, unknown host, closed, not RTSP
  virtual absl::StatusOr<VideoParameters> Open() = 0;

  // The next access unit. kDeadlineExceeded after the stall timeout, whatever
  // the library answered; kUnavailable when the camera ended it; kCancelled.
  virtual absl::StatusOr<AccessUnit> Read() = 0;

  // Makes a call in progress, and all later ones, return kCancelled soon.
  // From any thread.
  virtual void Cancel() = 0;

  // Local address of the connection; empty before Open.
  virtual std::string local_ip() const = 0;
  // Bytes received so far.
  virtual int64_t received_bytes() const = 0;
};

using PacketSourceFactory = std::function<std::unique_ptr<PacketSource>(
    const CameraUrl& url, const PacketSource::Options& options)>;

}  // namespace camherd::capture
