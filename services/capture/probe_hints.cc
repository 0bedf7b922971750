// SPDX-License-Identifier: Apache-2.0
#include "services/capture/probe_hints.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace camherd::capture {
namespace {

// Mode auto takes keyframes up to here, in intervals (FramePicker).
constexpr double kKeyframesUpTo = 1.25;

bool IsTimeout(const absl::Status& status) {
  return absl::IsDeadlineExceeded(status);
}

constexpr absl::string_view kCertificateHint =
    "Put the certificate that signed the camera's into capture.tls_ca_file, "
    "and call the camera by the name that is in it; or, where nobody can be "
    "in between, set tls_verify to false.";

std::string DnsHint(const absl::Status& status) {
  if (absl::IsPermissionDenied(status)) {
    return "If a camera really is there, allow its network in "
           "capture.allow_networks.";
  }
  if (IsTimeout(status)) {
    return "The name server does not answer. Use the camera's IP address, or "
           "look after this machine's DNS.";
  }
  return "Check the name for typing errors, or use the camera's IP address.";
}

std::string TcpHint(const absl::Status& status, const CameraUrl& url) {
  if (absl::IsPermissionDenied(status)) return std::string(kCertificateHint);
  if (absl::IsFailedPrecondition(status)) {
    return "Use rtsp:// if the camera does not encrypt, or the port of its "
           "RTSPS (322 as a rule).";
  }
  if (IsTimeout(status)) {
    return "Check the address, that the camera has power and network, and "
           "that no firewall is between it and this machine.";
  }
  return absl::StrCat(
      "Check the address and the port (", url.port(),
      "; RTSP is 554 as a rule), and that RTSP is switched on in the camera.");
}

std::string RtspHint(const absl::Status& status) {
  if (absl::IsDataLoss(status)) {
    return "Another service has this port: 80 and 8080 are web pages as a "
           "rule, RTSP is 554. Over TLS the URL begins with rtsps://.";
  }
  if (IsTimeout(status)) {
    return "Something accepts the connection and is silent: restart the "
           "camera, and check that the port is that of RTSP.";
  }
  return "The camera may have as many sessions as it takes, or refuse this "
         "machine: look at its list of sessions and of allowed addresses.";
}

std::string AuthHint(const absl::Status& status, const CameraUrl& url,
                     v1::Transport transport) {
  switch (status.code()) {
    case absl::StatusCode::kUnauthenticated:
      return url.has_credentials()
                 ? "Check user and password, and that this user may watch "
                   "live video. Cameras lock out those who fail too often: "
                   "wait some minutes before the next try."
                 : "Give user and password as fields of their own, or in the "
                   "URL, percent-encoded.";
    case absl::StatusCode::kNotFound:
      return "The path of the URL is wrong for this camera: look it up in its "
             "manual or in its ONVIF profile.";
    case absl::StatusCode::kResourceExhausted:
      return "The camera serves no more sessions: close other viewers, or "
             "take its second stream.";
    case absl::StatusCode::kPermissionDenied:
      if (url.tls()) return std::string(kCertificateHint);
      return "The camera redirects to an address that is not allowed; see "
             "capture.allow_networks.";
    case absl::StatusCode::kDeadlineExceeded:
      return "The camera answers too slowly: check its load and the network.";
    default:
      return transport == v1::TRANSPORT_UDP
                 ? "Try transport tcp: not every camera and network does UDP."
                 : "Look into the camera's log; a restart of the camera may "
                   "help.";
  }
}

std::string CodecHint(const absl::Status& status) {
  if (absl::IsUnimplemented(status)) {
    return "Set the camera's video encoding to H.264 or H.265.";
  }
  return "Take the path of a video stream; this one may be sound only.";
}

std::string PictureHint(const absl::Status& status, v1::Transport transport) {
  if (transport == v1::TRANSPORT_UDP) {
    return "UDP packets do not get through: use transport tcp, or open the "
           "firewall.";
  }
  if (absl::IsNotFound(status)) {
    return "Set the keyframe (I-frame) interval in the camera to some seconds, "
           "or start the stream with sampling_mode full, which decodes every "
           "picture.";
  }
  return "The camera connects but does not keep sending: check its load, its "
         "bit rate and the network.";
}

}  // namespace

std::string HintForFailure(v1::ProbeStep step, const absl::Status& status,
                           const CameraUrl& url, v1::Transport transport) {
  switch (step) {
    case v1::PROBE_STEP_DNS:
      return DnsHint(status);
    case v1::PROBE_STEP_TCP:
      return TcpHint(status, url);
    case v1::PROBE_STEP_RTSP:
      return RtspHint(status);
    case v1::PROBE_STEP_AUTH:
      return AuthHint(status, url, transport);
    case v1::PROBE_STEP_CODEC:
      return CodecHint(status);
    case v1::PROBE_STEP_KEYFRAME:
    case v1::PROBE_STEP_GOP:
      return PictureHint(status, transport);
    case v1::PROBE_STEP_DECODE:
      return "The pictures are damaged or not by the standard: lower the bit "
             "rate, switch off the camera's \"smart\" or \"+\" codec, and "
             "update its firmware.";
    default:
      return "";
  }
}

std::string HintForLogin(const RtspGreeting& greeting, const CameraUrl& url) {
  const std::vector<std::string>& schemes = greeting.schemes;
  const bool basic_only = schemes.size() == 1 && schemes[0] == "basic";
  if (basic_only && url.has_credentials() && !url.tls()) {
    return "The password travels readably: set the camera to digest "
           "authentication, or use rtsps://.";
  }
  return "";
}

std::string HintForGop(absl::Duration gop, bool longer,
                       absl::Duration interval) {
  if (!longer && gop <= kKeyframesUpTo * interval) return "";
  return absl::StrCat(
      "At a sample every ", absl::FormatDuration(interval),
      " (the default) the pictures in between have to be decoded as well (mode "
      "exact), which takes several times the CPU: a shorter keyframe "
      "(I-frame) interval in the camera saves that.");
}

std::string HintForCondition(v1::CameraCondition condition) {
  switch (condition) {
    case v1::CAMERA_CONDITION_TOO_DARK:
      return "The picture is too dark: is the lens covered, the night mode "
             "off, the exposure too short?";
    case v1::CAMERA_CONDITION_OVEREXPOSED:
      return "The picture is overexposed: shorten the exposure, or turn the "
             "camera away from the light.";
    case v1::CAMERA_CONDITION_COVERED:
      return "The picture is of one colour: the lens may be covered.";
    case v1::CAMERA_CONDITION_BLURRED:
      return "The picture is blurred: clean the lens and check its focus.";
    default:
      return "";
  }
}

}  // namespace camherd::capture
