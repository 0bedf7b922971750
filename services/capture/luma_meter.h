// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "camherd/v1/worker.pb.h"

namespace camherd::capture {

// Measures what a picture looks like while its rows pass: from every 8th sample
// of every 8th row of full-range Y', and its neighbours, so that it costs next
// to nothing beside the encoding.
//
// Not thread-safe; one a picture.
class LumaMeter {
 public:
  // Rows that are looked at: every one whose number this divides.
  static constexpr int kStep = 8;

  void AddRow(const uint8_t* luma, int width);

  // All zero for a picture without a row of at least 3 samples.
  v1::PictureLook Look() const;

 private:
  int64_t count_ = 0;
  int64_t sum_ = 0;
  int64_t squares_ = 0;
  int64_t dark_ = 0;
  int64_t clipped_ = 0;
  int64_t curvature_ = 0;
  // FNV-1a, 64 bits.
  uint64_t fingerprint_ = 0xcbf29ce484222325;
};

}  // namespace camherd::capture
