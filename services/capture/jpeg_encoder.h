// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "camherd/v1/worker.pb.h"
#include "services/capture/decoder.h"

namespace camherd::capture {

// Writes pictures as baseline JPEG (JFIF): full range, BT.601, chroma as it
// came. The planes go into the encoder a few rows at a time, expanded and
// converted on the way (JpegColour), so no RGB picture is ever made.
//
// Not thread-safe; one encoder per thread keeps its buffers.
class JpegEncoder {
 public:
  struct Jpeg {
    std::string data;
    // Mean full-range Y' of the picture as it is stored, 0..255.
    double mean_luma = 0;
    v1::PictureLook look;
  };

  // `quality` 1..100.
  explicit JpegEncoder(int quality);
  ~JpegEncoder();

  JpegEncoder(const JpegEncoder&) = delete;
  JpegEncoder& operator=(const JpegEncoder&) = delete;

  // kInvalidArgument for an empty picture or a side over 65500 pixels;
  // kInternal, with the library's words, for all else.
  absl::StatusOr<Jpeg> Encode(const Picture& picture);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace camherd::capture
