// SPDX-License-Identifier: Apache-2.0
#include "services/capture/jpeg_colour.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

namespace camherd::capture {
namespace {

struct Triple {
  double y, cb, cr;
};

// The definition, in floating point (H.273 §8.3, T.871 §7).
Triple Convert(int y, int cb, int cr, bool full, double kr, double kb) {
  const double yn = full ? y / 255.0 : (std::clamp(y, 16, 235) - 16) / 219.0;
  const double scale = full ? 255.0 : 224.0;
  const double cbn = (cb - 128) / scale;
  const double crn = (cr - 128) / scale;
  const double r = yn + 2 * (1 - kr) * crn;
  const double b = yn + 2 * (1 - kb) * cbn;
  const double g = (yn - kr * r - kb * b) / (1 - kr - kb);
  const double y2 = 0.299 * r + 0.587 * g + 0.114 * b;
  const auto to_byte = [](double v) { return std::clamp(v, 0.0, 255.0); };
  return {to_byte(255 * y2), to_byte(128 + 255 * (b - y2) / 1.772),
          to_byte(128 + 255 * (r - y2) / 1.402)};
}

struct Matrix {
  double kr, kb;
};
constexpr Matrix k601 = {0.299, 0.114};
constexpr Matrix k709 = {0.2126, 0.0722};
constexpr Matrix k2020 = {0.2627, 0.0593};

class JpegColourTest : public ::testing::TestWithParam<bool> {};

TEST_P(JpegColourTest, AgreesWithTheDefinitionForAllMatrices) {
  const bool full = GetParam();
  for (const Matrix matrix : {k601, k709, k2020}) {
    const JpegColour colour(full, matrix.kr, matrix.kb);
    for (int y = 16; y <= 235; y += 3) {
      for (int c = 16; c <= 240; c += 7) {
        std::vector<uint8_t> cr;
        for (int v = 16; v <= 240; v += 5) {
          cr.push_back(static_cast<uint8_t>(v));
        }
        const int n = static_cast<int>(cr.size());
        const std::vector<uint8_t> ys(cr.size(), static_cast<uint8_t>(y));
        const std::vector<uint8_t> cb(cr.size(), static_cast<uint8_t>(c));
        std::vector<uint8_t> oy(cr.size()), ocb(cr.size()), ocr(cr.size());
        colour.Luma(ys.data(), cb.data(), cr.data(), false, n, oy.data());
        colour.Chroma(cb.data(), cr.data(), n, ocb.data(), ocr.data());
        for (size_t i = 0; i < cr.size(); ++i) {
          const Triple want = Convert(y, c, cr[i], full, matrix.kr, matrix.kb);
          ASSERT_NEAR(oy[i], want.y, 1.2) << y << " " << c << " " << +cr[i];
          ASSERT_NEAR(ocb[i], want.cb, 1.01) << c << " " << +cr[i];
          ASSERT_NEAR(ocr[i], want.cr, 1.01) << c << " " << +cr[i];
        }
      }
    }
  }
}

TEST_P(JpegColourTest, GreyStaysGrey) {
  for (const Matrix matrix : {k601, k709, k2020}) {
    const JpegColour colour(GetParam(), matrix.kr, matrix.kb);
    const uint8_t grey = 128;
    uint8_t cb = 0;
    uint8_t cr = 0;
    colour.Chroma(&grey, &grey, 1, &cb, &cr);
    EXPECT_EQ(cb, 128);
    EXPECT_EQ(cr, 128);
  }
}

TEST_P(JpegColourTest, HalfWidthChromaServesBothPixelsOfAPairAtAnyWidth) {
  const JpegColour colour(GetParam(), k709.kr, k709.kb);
  for (const int width : {1, 2, 3, 15, 16, 17, 511, 512, 513, 1921}) {
    const auto n = static_cast<size_t>(width);
    std::vector<uint8_t> y(n), cb_half((n + 1) / 2), cr_half((n + 1) / 2);
    std::vector<uint8_t> cb(n), cr(n);
    for (size_t i = 0; i < n; ++i) {
      y[i] = static_cast<uint8_t>(16 + i * 7 % 220);
      cb_half[i / 2] = static_cast<uint8_t>(16 + i / 2 * 11 % 225);
      cr_half[i / 2] = static_cast<uint8_t>(16 + i / 2 * 5 % 225);
    }
    for (size_t i = 0; i < n; ++i) {
      cb[i] = cb_half[i / 2];
      cr[i] = cr_half[i / 2];
    }
    std::vector<uint8_t> from_half(n), from_whole(n);
    colour.Luma(y.data(), cb_half.data(), cr_half.data(), true, width,
                from_half.data());
    colour.Luma(y.data(), cb.data(), cr.data(), false, width,
                from_whole.data());
    EXPECT_EQ(from_half, from_whole) << width;
  }
}

INSTANTIATE_TEST_SUITE_P(Ranges, JpegColourTest, ::testing::Bool(),
                         [](const auto& info) {
                           return info.param ? "full" : "limited";
                         });

TEST(JpegColourIdentityTest, AFullRangeBt601PictureIsCopied) {
  const JpegColour colour(true, 0.299, 0.114);
  EXPECT_TRUE(colour.identity());
  std::vector<uint8_t> y(256), out(256), out2(256);
  for (int i = 0; i < 256; ++i) {
    y[static_cast<size_t>(i)] = static_cast<uint8_t>(i);
  }
  colour.Luma(y.data(), nullptr, nullptr, false, 256, out.data());
  EXPECT_EQ(out, y);
  colour.Chroma(y.data(), y.data(), 256, out.data(), out2.data());
  EXPECT_EQ(out2, y);
}

}  // namespace
}  // namespace camherd::capture
