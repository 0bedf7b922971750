// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "camherd/v1/capture_service.pb.h"
#include "camherd/v1/stream.pb.h"
#include "services/common/camera_url.h"

// What a person may ask of a stream: checks, defaults, names. Every error is
// kInvalidArgument and names field and value, unless said otherwise.
namespace camherd::capture {

// What requests leave out.
struct StreamDefaults {
  double interval_seconds = 3;
  int batch_size = 10;
};

constexpr double kMinIntervalSeconds = 0.1;
constexpr double kMaxIntervalSeconds = 86400;

// A request that has passed: sources and what is to be done with them.
struct StreamRequest {
  CameraUrl url;
  // Of the second source, if any.
  std::optional<CameraUrl> detect_url;
  // camera_id (empty where the caller gave none), interval, models, mode,
  // transport, batch size, verification of certificates; masked URLs.
  v1::Stream spec;
  // Which of the optional ones the caller gave.
  bool has_sampling_mode = false;
  bool has_transport = false;
  bool has_batch_size = false;
  bool has_tls_verify = false;
};

// `url` is what it would be for: rtsps is TCP only, since RTP beside it would
// travel in the clear.
absl::Status CheckTransport(int transport, const CameraUrl& url);

absl::StatusOr<StreamRequest> CheckStartRequest(
    const v1::StartStreamRequest& request, const StreamDefaults& defaults);

// The stream after an update; `running` is what it was, with its URLs. What is
// absent stays: user and password go on with a new URL that has none of its
// own, but only to the same host and port, since the caller need not know them.
// An empty user with an empty password takes them out. A URL is missing where
// the stored one could not be read; then the request must bring one.
absl::StatusOr<StreamRequest> CheckUpdateRequest(
    const v1::UpdateStreamRequest& request, const v1::Stream& running,
    const std::optional<CameraUrl>& url,
    const std::optional<CameraUrl>& detect_url);

// What a running stream has other than the request, as a sentence; empty:
// nothing. Fields the caller left out are compared by their default where the
// document names them (interval, models), else not at all. A lease of the same
// length is the same, however much is left of it.
std::string Difference(const CameraUrl& url,
                       const std::optional<CameraUrl>& detect_url,
                       const v1::Stream& running, const StreamRequest& request);

// `base`, or `base-2`, `base-3` ..., at most 64 characters: the first that
// `taken` does not know.
template <typename Taken>
std::string UniqueName(absl::string_view base, Taken taken) {
  std::string name(base.substr(0, 64));
  for (int n = 2; taken(name); ++n) {
    const std::string suffix = absl::StrCat("-", n);
    name = absl::StrCat(base.substr(0, 64 - suffix.size()), suffix);
  }
  return name;
}

}  // namespace camherd::capture
