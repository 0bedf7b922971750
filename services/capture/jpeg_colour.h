// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace camherd::capture {

// Turns rows of a camera's Y'CbCr into those of a JPEG: full range (0..255),
// BT.601 (JFIF 1.02 §3, ITU-T T.871 §7).
//
// Y' of another matrix depends on both colours, so BT.709 rows need their
// chroma; chroma never depends on Y', so grey stays grey. The chroma of a
// pixel is that of its nearest sample.
//
// Thread-safe.
class JpegColour {
 public:
  // Range and matrix of the source, as in Picture.
  JpegColour(bool full_range, double kr, double kb);

  // True if rows must only be copied.
  bool identity() const { return full_range_ && !matrix_; }
  // True if Luma needs the chroma rows.
  bool needs_chroma() const { return matrix_; }

  // One row of `width` luma samples. `cb` and `cr` are the chroma rows of the
  // same line, (width + 1) / 2 samples where `half_width`, else `width`;
  // ignored unless needs_chroma(). Source and target do not overlap.
  void Luma(const uint8_t* y, const uint8_t* cb, const uint8_t* cr,
            bool half_width, int width, uint8_t* out) const;

  // One row of `count` samples of each colour.
  void Chroma(const uint8_t* cb, const uint8_t* cr, int count, uint8_t* out_cb,
              uint8_t* out_cr) const;

 private:
  bool full_range_;
  bool matrix_;
  // Factors of Cb and Cr in Y', Cb and Cr, as 2^13 fixed point, range
  // expansion included.
  int16_t y_cb_ = 0;
  int16_t y_cr_ = 0;
  int16_t cb_cb_ = 0;
  int16_t cb_cr_ = 0;
  int16_t cr_cb_ = 0;
  int16_t cr_cr_ = 0;
};

}  // namespace camherd::capture
