// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "services/capture/address_policy.h"
#include "services/capture/packet_source.h"
#include "services/common/camera_url.h"
#include "services/common/clock.h"

namespace camherd::capture {

// RTSP (RFC 2326) by libavformat, RTP interleaved in the TCP connection, or
// over UDP.
//
// The host's name is looked up once and checked by the policy, and the
// connection goes to the checked address. Redirects are followed a few times
// where the policy allows their target: the address itself is checked when the
// connection is made, and whatever else is sent to (SocketGuard).
//
// libavformat's answers are not taken at their word: it returns a packet after
// a read that has timed out, "invalid data" for a silent peer, and follows
// redirects for ever. So every call has an absolute deadline of ours, and what
// it says is judged together with the time that passed.
//
// Of rtsps the certificate is verified for the URL's host although the
// connection goes to an address (TlsVerifier); the media travel in that
// connection too. Over UDP packets are taken from and sent to the camera's
// address only, and what comes out of order is put right within 0.3 s.
//
// Closing sends TEARDOWN. Packets come out of the library's parser, one access
// unit each, when the next one begins.
class LibavPacketSource final : public PacketSource {
 public:
  // `clock` must outlive the source.
  LibavPacketSource(const CameraUrl& url, const Options& options,
                    const AddressPolicy& policy, Clock& clock);
  ~LibavPacketSource() override;

  absl::StatusOr<VideoParameters> Open() override;
  absl::StatusOr<AccessUnit> Read() override;
  void Cancel() override;
  std::string local_ip() const override;
  int64_t received_bytes() const override;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

// Makes LibavPacketSource for each connection. `clock` must outlive all.
PacketSourceFactory MakeLibavPacketSources(const AddressPolicy& policy,
                                           Clock& clock);

}  // namespace camherd::capture
