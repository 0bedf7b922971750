// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <deque>
#include <memory>

#include "absl/status/statusor.h"
#include "services/capture/decoder.h"
#include "services/capture/jpeg_encoder.h"
#include "services/capture/packet_source.h"

namespace camherd::capture {

// What each thread of a DecodePool keeps from task to task: decoders for single
// keyframes, which belong to no camera, and a JPEG encoder.
//
// Not thread-safe.
class DecodeThread {
 public:
  explicit DecodeThread(int jpeg_quality) : encoder_(jpeg_quality) {}

  // A decoder for these parameters. A few are kept, the least recently used
  // goes first. Valid until the next call. kInternal as Decoder::Create.
  absl::StatusOr<Decoder*> KeyframeDecoder(const VideoParameters& parameters);

  JpegEncoder& encoder() { return encoder_; }

 private:
  struct Entry {
    VideoParameters parameters;
    std::unique_ptr<Decoder> decoder;
  };

  JpegEncoder encoder_;
  // Most recently used first.
  std::deque<Entry> decoders_;
};

}  // namespace camherd::capture
