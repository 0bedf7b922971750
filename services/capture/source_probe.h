// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "services/capture/address_policy.h"
#include "services/capture/camera_connection.h"
#include "services/capture/condition_judge.h"
#include "services/capture/packet_source.h"
#include "services/capture/source_prober.h"
#include "services/common/clock.h"

namespace camherd::capture {

// The probe in this process. In this order:
//
//   DNS       the address, and that the policy allows it
//   TCP       a connection to it, over TLS for rtsps, its certificate verified
//   RTSP      OPTIONS and DESCRIBE without user info: is it a camera, what does
//             it ask for (RtspGreeting)
//   AUTH      a session up to PLAY: user info, path, number of sessions
//   CODEC     what video it has
//   KEYFRAME  the first picture that decoding can begin with
//   GOP       the time to the next one
//   DECODE    a keyframe as a picture, its size
//   LUMA      how bright it is, as a stream's condition is judged
//
// From AUTH on it is a PacketSource, so that a stream's failures and these are
// the same. Takes at most 3 x connect_timeout + pictures_timeout.
//
// Stateless and thread-safe.
class SourceProbe final : public SourceProber {
 public:
  struct Options {
    // For DNS and TCP together, for RTSP, and for AUTH.
    absl::Duration connect_timeout = absl::Seconds(10);
    // From PLAY to the second keyframe. A GOP that is longer is told so.
    absl::Duration pictures_timeout = absl::Seconds(20);
    // Between pictures.
    absl::Duration stall_timeout = absl::Seconds(10);
    // As in PacketSource::Options.
    std::string tls_ca_file = {};
    // Between samples of a stream that does not say.
    absl::Duration interval = absl::Seconds(3);
    ConditionJudge::Options condition;
  };

  // `clock` must outlive it.
  SourceProbe(const Options& options, const AddressPolicy& policy,
              CameraConnectionFactory connections, PacketSourceFactory sources,
              Clock& clock);

  absl::Status Probe(const ProbeTarget& target, const StepSink& on_step,
                     const std::function<bool()>& cancelled) override;

 private:
  const Options options_;
  const AddressPolicy policy_;
  const CameraConnectionFactory connections_;
  const PacketSourceFactory sources_;
  Clock& clock_;
};

}  // namespace camherd::capture
