// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "services/capture/camera_connection.h"
#include "services/common/camera_url.h"

// What an RTSP server says of itself to one who does not say who he is.
namespace camherd::capture {

// Texts are the server's own words, cut short, in printable ASCII.
struct RtspGreeting {
  // Header Server of either answer; may be empty.
  std::string server;
  // Header Public of the answer to OPTIONS; may be empty.
  std::string methods;
  // Status codes (RFC 2326 §7.1.1). 0: it closed the connection instead.
  int options_status = 0;
  int describe_status = 0;
  // Ways to log in that it asks for, lower-case: "basic", "digest".
  std::vector<std::string> schemes;
};

// Sends OPTIONS, then DESCRIBE (RFC 2326 §10), without user info. kDataLoss:
// what answers is no RTSP, or too much; the rest as CameraConnection.
absl::StatusOr<RtspGreeting> GreetRtspServer(CameraConnection& connection,
                                             const CameraUrl& url,
                                             absl::Duration deadline);

}  // namespace camherd::capture
