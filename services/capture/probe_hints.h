// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "camherd/v1/capture_service.pb.h"
#include "camherd/v1/stream.pb.h"
#include "services/capture/rtsp_greeting.h"
#include "services/common/camera_url.h"

// What a person can do about what a probe found, in plain words; empty where
// there is nothing to do.
namespace camherd::capture {

// `status` is not OK: why `step` failed.
std::string HintForFailure(v1::ProbeStep step, const absl::Status& status,
                           const CameraUrl& url, v1::Transport transport);

// The camera lets us in; `greeting` says how it asks for the login.
std::string HintForLogin(const RtspGreeting& greeting, const CameraUrl& url);

// Keyframes are `gop` apart, or further where `longer`.
std::string HintForGop(absl::Duration gop, bool longer,
                       absl::Duration interval);

std::string HintForCondition(v1::CameraCondition condition);

}  // namespace camherd::capture
