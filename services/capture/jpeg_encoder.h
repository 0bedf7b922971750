// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "camherd/v1/worker.pb.h"
#include "services/capture/decoder.h"
#include "services/capture/privacy_mask.h"

namespace camherd::capture {

// Writes pictures as baseline JPEG (JFIF): full range, BT.601, chroma as it
// came. The planes go into the encoder a few rows at a time, expanded and
// converted on the way (JpegColour), so no RGB picture is ever made.
//
// Privacy masks are painted into those rows, before anything is measured: they
// are of one format, whatever the camera sends, and the decoder's planes, to
// which later pictures refer, stay as they are. A sample of colour that belongs
// to a covered pixel loses its colour as a whole: no byte of the JPEG depends
// on what lies below a mask.
//
// Not thread-safe; one encoder per thread keeps its buffers.
class JpegEncoder {
 public:
  struct Jpeg {
    std::string data;
    // Mean full-range Y' of the picture as it is stored, 0..255. Both are of
    // what no mask covers, so that a mask makes no camera dark or covered; 0
    // where it covers everything.
    double mean_luma = 0;
    v1::PictureLook look;
  };

  // `quality` 1..100.
  explicit JpegEncoder(int quality);
  ~JpegEncoder();

  JpegEncoder(const JpegEncoder&) = delete;
  JpegEncoder& operator=(const JpegEncoder&) = delete;

  // `mask` may be null: nothing is covered. kInvalidArgument for an empty
  // picture, a side over 65500 pixels or a mask of another size; kInternal,
  // with the library's words, for all else.
  absl::StatusOr<Jpeg> Encode(const Picture& picture,
                              const PrivacyMask* mask = nullptr);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace camherd::capture
