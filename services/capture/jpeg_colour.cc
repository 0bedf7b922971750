// SPDX-License-Identifier: Apache-2.0
#include "services/capture/jpeg_colour.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace camherd::capture {
namespace {

// The loops below are written so that GCC and clang turn them into 16-bit
// vector code for any x86-64: no table, no 32-bit lanes, no branch.

constexpr double kJpegKr = 0.299;
constexpr double kJpegKb = 0.114;

int16_t Fixed13(double factor) {
  return static_cast<int16_t>(std::lround(factor * 8192));
}

// a * b / 2^16: one instruction (pmulhw) a vector.
inline int16_t MulHigh(int16_t a, int16_t b) {
  return static_cast<int16_t>((int32_t{a} * int32_t{b}) >> 16);
}

// 16..235 -> 0..255, rounded: 298 / 256 is 255 / 219.
inline uint16_t ExpandLuma(uint8_t y) {
  const uint8_t clamped = std::min<uint8_t>(std::max<uint8_t>(y, 16), 235);
  return static_cast<uint16_t>(
      static_cast<uint16_t>((clamped - 16) * 298 + 128) >> 8);
}

// 128 +- 112 -> 128 +- 127.5, rounded, at most 255.
inline uint8_t ExpandChroma(uint8_t c) {
  const uint8_t legal = std::min<uint8_t>(std::max<uint8_t>(c, 16), 240);
  const int16_t clamped = static_cast<int16_t>(legal - 128);
  // 0.1384 = 255 / 224 - 1 as 2^16 fixed point on values of 2^7.
  const int16_t grown = static_cast<int16_t>(
      clamped * 16 +
      MulHigh(static_cast<int16_t>(clamped * 128), int16_t{1134}));
  const int16_t out = static_cast<int16_t>(((grown + 8) >> 4) + 128);
  return static_cast<uint8_t>(std::min<int16_t>(out, 255));
}

inline int16_t Centred(uint8_t c) {
  return static_cast<int16_t>((int16_t{c} - 128) * 128);
}

// The sum of two products of centred samples (2^7) and factors (2^13), which
// is in units of 2^4, rounded.
inline int16_t Mix(int16_t a, int16_t fa, int16_t b, int16_t fb) {
  return static_cast<int16_t>((MulHigh(a, fa) + MulHigh(b, fb) + 8) >> 4);
}

inline uint8_t Saturate(int16_t value) {
  return static_cast<uint8_t>(
      std::min<int16_t>(std::max<int16_t>(value, 0), 255));
}

template <bool kFullRange>
inline int16_t BaseLuma(uint8_t y) {
  return kFullRange ? int16_t{y} : static_cast<int16_t>(ExpandLuma(y));
}

template <bool kFullRange, bool kHalfWidth>
void MixedLuma(const uint8_t* y, const uint8_t* cb, const uint8_t* cr,
               int width, int16_t y_cb, int16_t y_cr, uint8_t* out) {
  if (!kHalfWidth) {
    for (int i = 0; i < width; ++i) {
      out[i] = Saturate(static_cast<int16_t>(
          BaseLuma<kFullRange>(y[i]) +
          Mix(Centred(cb[i]), y_cb, Centred(cr[i]), y_cr)));
    }
    return;
  }
  // In pieces: first what the chroma adds, then both pixels of each pair.
  constexpr int kPiece = 256;
  int16_t added[kPiece];
  const int pairs = width / 2;
  for (int begin = 0; begin < pairs; begin += kPiece) {
    const int count = std::min(kPiece, pairs - begin);
    const uint8_t* piece_cb = cb + begin;
    const uint8_t* piece_cr = cr + begin;
    for (int i = 0; i < count; ++i) {
      added[i] = Mix(Centred(piece_cb[i]), y_cb, Centred(piece_cr[i]), y_cr);
    }
    const uint8_t* in = y + 2 * begin;
    uint8_t* piece_out = out + 2 * begin;
    for (int i = 0; i < count; ++i) {
      piece_out[2 * i] = Saturate(
          static_cast<int16_t>(BaseLuma<kFullRange>(in[2 * i]) + added[i]));
      piece_out[2 * i + 1] = Saturate(
          static_cast<int16_t>(BaseLuma<kFullRange>(in[2 * i + 1]) + added[i]));
    }
  }
  if (width % 2 != 0) {
    const int i = width - 1;
    out[i] = Saturate(static_cast<int16_t>(
        BaseLuma<kFullRange>(y[i]) +
        Mix(Centred(cb[i / 2]), y_cb, Centred(cr[i / 2]), y_cr)));
  }
}

}  // namespace

JpegColour::JpegColour(bool full_range, double kr, double kb)
    : full_range_(full_range),
      matrix_(std::abs(kr - kJpegKr) > 0.002 ||
              std::abs(kb - kJpegKb) > 0.002) {
  // R, G and B as sums of Y', Cb and Cr of the source matrix (H.273 §8.3),
  // then Cb and Cr of BT.601 as sums of those. Y' has factor 1 in the new Y'
  // and 0 in the new Cb and Cr.
  const double kg = 1 - kr - kb;
  const double r_cr = 2 * (1 - kr);
  const double b_cb = 2 * (1 - kb);
  const double g_cb = -kb * b_cb / kg;
  const double g_cr = -kr * r_cr / kg;
  const double jpeg_kg = 1 - kJpegKr - kJpegKb;
  const double y_cb = jpeg_kg * g_cb + kJpegKb * b_cb;
  const double y_cr = kJpegKr * r_cr + jpeg_kg * g_cr;
  const double cb_scale = 1 / (2 * (1 - kJpegKb));
  const double cr_scale = 1 / (2 * (1 - kJpegKr));
  const double range = full_range ? 1.0 : 255.0 / 224.0;
  y_cb_ = Fixed13(range * y_cb);
  y_cr_ = Fixed13(range * y_cr);
  cb_cb_ = Fixed13(range * (b_cb - y_cb) * cb_scale);
  cb_cr_ = Fixed13(range * -y_cr * cb_scale);
  cr_cb_ = Fixed13(range * -y_cb * cr_scale);
  cr_cr_ = Fixed13(range * (r_cr - y_cr) * cr_scale);
}

void JpegColour::Luma(const uint8_t* y, const uint8_t* cb, const uint8_t* cr,
                      bool half_width, int width, uint8_t* out) const {
  if (!matrix_) {
    if (full_range_) {
      std::memcpy(out, y, static_cast<size_t>(width));
      return;
    }
    for (int i = 0; i < width; ++i) {
      out[i] = static_cast<uint8_t>(ExpandLuma(y[i]));
    }
    return;
  }
  if (full_range_) {
    half_width ? MixedLuma<true, true>(y, cb, cr, width, y_cb_, y_cr_, out)
               : MixedLuma<true, false>(y, cb, cr, width, y_cb_, y_cr_, out);
  } else {
    half_width ? MixedLuma<false, true>(y, cb, cr, width, y_cb_, y_cr_, out)
               : MixedLuma<false, false>(y, cb, cr, width, y_cb_, y_cr_, out);
  }
}

void JpegColour::Chroma(const uint8_t* cb, const uint8_t* cr, int count,
                        uint8_t* out_cb, uint8_t* out_cr) const {
  if (!matrix_) {
    if (full_range_) {
      std::memcpy(out_cb, cb, static_cast<size_t>(count));
      std::memcpy(out_cr, cr, static_cast<size_t>(count));
      return;
    }
    for (int i = 0; i < count; ++i) out_cb[i] = ExpandChroma(cb[i]);
    for (int i = 0; i < count; ++i) out_cr[i] = ExpandChroma(cr[i]);
    return;
  }
  // By value: a store to a byte could otherwise change them.
  const int16_t cb_cb = cb_cb_;
  const int16_t cb_cr = cb_cr_;
  const int16_t cr_cb = cr_cb_;
  const int16_t cr_cr = cr_cr_;
  for (int i = 0; i < count; ++i) {
    out_cb[i] = Saturate(static_cast<int16_t>(
        Mix(Centred(cb[i]), cb_cb, Centred(cr[i]), cb_cr) + 128));
    out_cr[i] = Saturate(static_cast<int16_t>(
        Mix(Centred(cb[i]), cr_cb, Centred(cr[i]), cr_cr) + 128));
  }
}

}  // namespace camherd::capture
