// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "services/capture/packet_source.h"

namespace camherd::testing {

// A video file as a camera would send it.
struct Clip {
  capture::VideoParameters parameters;
  // In order of decoding; the k-th arrives k picture periods after zero.
  std::vector<capture::AccessUnit> units;
  absl::Duration period;
};

// Reads H.264, H.265 or MJPEG from a file, H.264 and H.265 as Annex B.
absl::StatusOr<Clip> ReadClip(const std::string& path);

// True if the ffmpeg program is there.
bool HaveFfmpeg();

// Runs `ffmpeg -v error -y ARGUMENTS PATH` in the shell and reads what it made.
absl::StatusOr<Clip> MakeClip(const std::string& arguments,
                              const std::string& path);

// Path of a shared test video; empty where this checkout has none.
std::string SharedVideo(const std::string& name);

}  // namespace camherd::testing
