// SPDX-License-Identifier: Apache-2.0
#include "services/capture/jpeg_encoder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "services/capture/decoder.h"
#include "tests/support/clip.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

extern "C" {
#include <libswscale/swscale.h>
}

namespace camherd::capture {
namespace {

using ::camherd::testing::Clip;
using ::camherd::testing::HaveFfmpeg;
using ::camherd::testing::IsOk;
using ::camherd::testing::MakeClip;
using ::camherd::testing::SharedVideo;
using ::camherd::testing::StatusIs;
using ::camherd::testing::TempDir;

struct Rgb {
  int width = 0;
  int height = 0;
  std::vector<uint8_t> data;
};

AVPixelFormat FormatOf(const Picture& picture) {
  switch (picture.chroma) {
    case Picture::Chroma::k420:
      return AV_PIX_FMT_YUV420P;
    case Picture::Chroma::k422:
      return AV_PIX_FMT_YUV422P;
    case Picture::Chroma::k444:
      return AV_PIX_FMT_YUV444P;
    case Picture::Chroma::kGray:
      return AV_PIX_FMT_GRAY8;
  }
  return AV_PIX_FMT_NONE;
}

// swscale's conversion of the picture to RGB, which knows range and matrix.
Rgb ToRgb(const Picture& picture) {
  Rgb rgb{picture.width, picture.height, {}};
  rgb.data.resize(static_cast<size_t>(3 * rgb.width * rgb.height));
  SwsContext* sws = sws_getContext(
      rgb.width, rgb.height, FormatOf(picture), rgb.width, rgb.height,
      AV_PIX_FMT_RGB24, SWS_BICUBIC | SWS_ACCURATE_RND | SWS_FULL_CHR_H_INT,
      nullptr, nullptr, nullptr);
  const int space =
      std::abs(picture.kr - 0.2126) < 1e-3 ? SWS_CS_ITU709 : SWS_CS_ITU601;
  sws_setColorspaceDetails(
      sws, sws_getCoefficients(space), picture.full_range ? 1 : 0,
      sws_getCoefficients(SWS_CS_ITU601), 1, 0, 1 << 16, 1 << 16);
  uint8_t* planes[] = {rgb.data.data()};
  const int strides[] = {3 * rgb.width};
  sws_scale(sws, picture.planes, picture.strides, 0, rgb.height, planes,
            strides);
  sws_freeContext(sws);
  return rgb;
}

// A JPEG as a viewer sees it.
Picture DecodeJpeg(const std::string& jpeg) {
  auto decoder =
      Decoder::Create({.codec = Codec::kMjpeg, .extradata = ""}).value();
  AccessUnit unit;
  unit.data = std::make_shared<const std::string>(jpeg);
  return decoder->DecodeKeyframe(unit).value();
}

// PSNR of BT.601 luma, and means.
struct Difference {
  double psnr = 0;
  double mean_a = 0;
  double mean_b = 0;
};

Difference CompareLuma(const Rgb& a, const Rgb& b) {
  double squares = 0;
  Difference d;
  const size_t pixels = a.data.size() / 3;
  const auto luma = [](const Rgb& p, size_t i) {
    return 0.299 * p.data[3 * i] + 0.587 * p.data[3 * i + 1] +
           0.114 * p.data[3 * i + 2];
  };
  for (size_t i = 0; i < pixels; ++i) {
    const double la = luma(a, i);
    const double lb = luma(b, i);
    squares += (la - lb) * (la - lb);
    d.mean_a += la;
    d.mean_b += lb;
  }
  d.mean_a /= static_cast<double>(pixels);
  d.mean_b /= static_cast<double>(pixels);
  d.psnr =
      10 * std::log10(255.0 * 255.0 /
                      std::max(squares / static_cast<double>(pixels), 1e-9));
  return d;
}

Picture FirstPicture(const Clip& clip) {
  auto decoder = Decoder::Create(clip.parameters).value();
  return decoder->DecodeKeyframe(clip.units[0]).value();
}

// The promise: against swscale's full-range conversion of the same picture.
void ExpectFaithful(const Picture& picture, const std::string& what) {
  JpegEncoder encoder(85);
  const auto jpeg = encoder.Encode(picture);
  ASSERT_THAT(jpeg, IsOk()) << what;
  const Picture stored = DecodeJpeg(jpeg->data);
  ASSERT_EQ(stored.width, picture.width) << what;
  ASSERT_EQ(stored.height, picture.height) << what;
  EXPECT_TRUE(stored.full_range) << what;
  const Difference d = CompareLuma(ToRgb(picture), ToRgb(stored));
  EXPECT_GE(d.psnr, 38.0) << what;
  EXPECT_NEAR(d.mean_a, d.mean_b, 1.0) << what;
  EXPECT_NEAR(jpeg->mean_luma, d.mean_a, 1.0) << what;
}

TEST(JpegEncoderTest, RealCameraPicturesAreStoredFaithfully) {
  for (const char* name :
       {"cows_1080p.mp4", "highway_dashcam_540p.mp4", "cars_overhead_432p.mp4",
        "person_indoor_432p.mp4", "night_city_240p.mp4"}) {
    const std::string path = SharedVideo(name);
    if (path.empty()) GTEST_SKIP() << "no shared videos beside this checkout";
    const absl::StatusOr<Clip> clip = testing::ReadClip(path);
    ASSERT_THAT(clip, IsOk());
    ExpectFaithful(FirstPicture(*clip), name);
  }
}

TEST(JpegEncoderTest, EveryRangeMatrixAndLayoutIsStoredFaithfully) {
  if (!HaveFfmpeg()) GTEST_SKIP() << "the ffmpeg program is not installed";
  const TempDir dir;
  const std::string video = SharedVideo("highway_dashcam_540p.mp4");
  const std::string source =
      video.empty() ? std::string("-f lavfi -i mandelbrot=s=637x355:r=5")
                    : absl::StrCat("-i '", video, "'");
  for (const char* matrix : {"bt709", "smpte170m"}) {
    for (const char* range : {"tv", "pc"}) {
      for (const char* format :
           {"yuv420p", "yuv422p", "yuv444p", "yuv420p10le"}) {
        const std::string what = absl::StrCat(matrix, " ", range, " ", format);
        // An odd size, which only 4:4:4 can code; the others crop to even.
        const absl::StatusOr<Clip> clip = MakeClip(
            absl::StrCat(source,
                         " -vframes 1 -vf scale=638:356:", "out_color_matrix=",
                         std::string(matrix) == "bt709" ? "bt709" : "bt601",
                         ":out_range=", range, ",format=", format,
                         " -c:v libx264 -preset ultrafast -crf 12 -colorspace ",
                         matrix, " -color_range ", range),
            dir / "clip.mkv");
        ASSERT_THAT(clip, IsOk()) << what;
        const Picture picture = FirstPicture(*clip);
        EXPECT_EQ(picture.full_range, std::string(range) == "pc") << what;
        ExpectFaithful(picture, what);
      }
    }
  }
}

TEST(JpegEncoderTest, AnMjpegCamerasPictureKeepsItsRangeAndLayout) {
  if (!HaveFfmpeg()) GTEST_SKIP() << "the ffmpeg program is not installed";
  const TempDir dir;
  for (const char* format : {"yuvj420p", "yuvj422p", "yuvj444p"}) {
    const absl::StatusOr<Clip> clip =
        MakeClip(absl::StrCat("-f lavfi -i mandelbrot=s=321x241:r=5 -vframes 1 "
                              "-c:v mjpeg -q:v 2 -pix_fmt ",
                              format),
                 dir / "clip.mkv");
    ASSERT_THAT(clip, IsOk());
    const Picture picture = FirstPicture(*clip);
    EXPECT_TRUE(picture.full_range);
    EXPECT_EQ(picture.width, 321);
    ExpectFaithful(picture, format);
  }
}

// Pictures made by hand.
class PlainPictureTest : public ::testing::Test {
 protected:
  Picture Make(int width, int height, Picture::Chroma chroma, uint8_t y,
               uint8_t cb, uint8_t cr) {
    const auto n = static_cast<size_t>(width * height);
    planes_ = {std::vector<uint8_t>(n, y), std::vector<uint8_t>(n, cb),
               std::vector<uint8_t>(n, cr)};
    Picture picture;
    picture.width = width;
    picture.height = height;
    picture.chroma = chroma;
    for (size_t i = 0; i < 3; ++i) {
      picture.planes[i] = planes_[i].data();
      picture.strides[i] = width;
    }
    return picture;
  }

  std::vector<std::vector<uint8_t>> planes_;
};

TEST_F(PlainPictureTest, LimitedRangeWhiteBecomes255AndBlackZero) {
  JpegEncoder encoder(85);
  for (const auto& [y, want] : {std::pair{235, 255.0}, std::pair{16, 0.0},
                                std::pair{255, 255.0}, std::pair{0, 0.0}}) {
    const auto jpeg = encoder.Encode(
        Make(64, 48, Picture::Chroma::k420, static_cast<uint8_t>(y), 128, 128));
    ASSERT_THAT(jpeg, IsOk());
    EXPECT_DOUBLE_EQ(jpeg->mean_luma, want);
  }
}

TEST_F(PlainPictureTest, AnySizeAndLayoutIsEncoded) {
  JpegEncoder encoder(85);
  for (const auto chroma : {Picture::Chroma::k420, Picture::Chroma::k422,
                            Picture::Chroma::k444, Picture::Chroma::kGray}) {
    for (int size = 1; size < 36; ++size) {
      const auto jpeg =
          encoder.Encode(Make(size, 37 - size, chroma, 120, 90, 200));
      ASSERT_THAT(jpeg, IsOk());
      const Picture stored = DecodeJpeg(jpeg->data);
      EXPECT_EQ(stored.width, size);
      EXPECT_EQ(stored.height, 37 - size);
      EXPECT_NEAR(jpeg->mean_luma, (120 - 16) * 255.0 / 219.0, 0.6);
    }
  }
}

// Whatever a camera sends: layout, range, matrix and size.
class MaskedPictureTest : public PlainPictureTest {
 protected:
  static v1::Polygon Triangle() {
    v1::Polygon polygon;
    for (const auto& [x, y] :
         {std::pair{0.3, 0.1}, std::pair{0.95, 0.5}, std::pair{0.35, 0.93}}) {
      v1::Point& point = *polygon.add_points();
      point.set_x(x);
      point.set_y(y);
    }
    return polygon;
  }

  static bool Covers(const PrivacyMask& mask, int x, int y) {
    for (const PrivacyMask::Run& run : mask.Row(y)) {
      if (x >= run.begin && x < run.end) return true;
    }
    return false;
  }

  // Noise everywhere, and under the mask the noise of `hidden`; a sample of
  // colour that belongs to a covered pixel is under it.
  Picture Noise(int width, int height, Picture::Chroma chroma,
                const PrivacyMask& mask, int hidden) {
    Picture picture = Make(width, height, chroma, 0, 0, 0);
    const int half_x =
        chroma == Picture::Chroma::k420 || chroma == Picture::Chroma::k422 ? 1
                                                                           : 0;
    const int half_y = chroma == Picture::Chroma::k420 ? 1 : 0;
    for (int plane = 0; plane < 3; ++plane) {
      std::mt19937 seen(7 + plane);
      std::mt19937 unseen(static_cast<unsigned>(100 * hidden + plane));
      const int sx = plane == 0 ? 0 : half_x;
      const int sy = plane == 0 ? 0 : half_y;
      for (int y = 0; y < height; ++y) {
        for (int x = 0; x < width; ++x) {
          bool covered = false;
          for (int py = y << sy; py < std::min((y + 1) << sy, height); ++py) {
            for (int px = x << sx; px < std::min((x + 1) << sx, width); ++px) {
              covered |= Covers(mask, px, py);
            }
          }
          const unsigned a = seen();
          const unsigned b = unseen();
          planes_[static_cast<size_t>(plane)]
                 [static_cast<size_t>(y * width + x)] =
                     static_cast<uint8_t>(16 + (covered ? b : a) % 220);
        }
      }
    }
    return picture;
  }

  template <typename F>
  static void ForEachKind(F check) {
    for (const auto chroma : {Picture::Chroma::k420, Picture::Chroma::k422,
                              Picture::Chroma::k444, Picture::Chroma::kGray}) {
      for (const bool full_range : {false, true}) {
        for (const bool bt709 : {false, true}) {
          SCOPED_TRACE(absl::StrCat("chroma ", static_cast<int>(chroma),
                                    " full ", full_range, " 709 ", bt709));
          check(chroma, full_range, bt709);
        }
      }
    }
  }
};

TEST_F(MaskedPictureTest, NoByteOfTheJpegDependsOnWhatIsBelowAMask) {
  const v1::Polygon triangle = Triangle();
  JpegEncoder encoder(85);
  for (const auto& [width, height] :
       {std::pair{96, 80}, std::pair{97, 61}, std::pair{5, 3}}) {
    const PrivacyMask mask({&triangle, 1}, width, height);
    ForEachKind([&](Picture::Chroma chroma, bool full_range, bool bt709) {
      std::vector<JpegEncoder::Jpeg> jpegs;
      std::string unmasked[2];
      for (const int hidden : {1, 2}) {
        Picture picture =
            Noise(mask.width(), mask.height(), chroma, mask, hidden);
        picture.full_range = full_range;
        picture.kr = bt709 ? 0.2126 : 0.299;
        picture.kb = bt709 ? 0.0722 : 0.114;
        jpegs.push_back(encoder.Encode(picture, &mask).value());
        unmasked[hidden - 1] = encoder.Encode(picture).value().data;
      }
      EXPECT_NE(unmasked[0], unmasked[1]);
      EXPECT_EQ(jpegs[0].data, jpegs[1].data);
      EXPECT_EQ(jpegs[0].mean_luma, jpegs[1].mean_luma);
      EXPECT_EQ(jpegs[0].look.SerializeAsString(),
                jpegs[1].look.SerializeAsString());
    });
  }
}

TEST_F(MaskedPictureTest, TheMaskIsBlackAndTheRestIsAsItWas) {
  const v1::Polygon triangle = Triangle();
  constexpr int kWidth = 320;
  constexpr int kHeight = 256;
  const PrivacyMask mask({&triangle, 1}, kWidth, kHeight);
  JpegEncoder encoder(85);
  ForEachKind([&](Picture::Chroma chroma, bool full_range, bool bt709) {
    Picture picture = Noise(kWidth, kHeight, chroma, mask, 1);
    picture.full_range = full_range;
    picture.kr = bt709 ? 0.2126 : 0.299;
    picture.kb = bt709 ? 0.0722 : 0.114;
    const Rgb masked =
        ToRgb(DecodeJpeg(encoder.Encode(picture, &mask).value().data));
    const Rgb whole = ToRgb(DecodeJpeg(encoder.Encode(picture).value().data));
    int black = 0;
    int same = 0;
    // Away from the border of the mask by more than a block, its transform and
    // its interpolated colour.
    for (int top = 0; top < kHeight; top += 16) {
      for (int left = 0; left < kWidth; left += 16) {
        int covered = 0;
        for (int y = top - 16; y < top + 32; ++y) {
          for (int x = left - 16; x < left + 32; ++x) {
            const int cx = std::clamp(x, 0, kWidth - 1);
            const int cy = std::clamp(y, 0, kHeight - 1);
            covered += Covers(mask, cx, cy) ? 1 : 0;
          }
        }
        if (covered != 0 && covered != 48 * 48) continue;
        for (int i = 0; i < 16 * 16; ++i) {
          const auto at = static_cast<size_t>(
              3 * ((top + i / 16) * kWidth + left + i % 16));
          for (size_t c = 0; c < 3; ++c) {
            if (covered == 0) {
              ASSERT_EQ(masked.data[at + c], whole.data[at + c]);
              ++same;
            } else {
              ASSERT_LE(masked.data[at + c], 1);
              ++black;
            }
          }
        }
      }
    }
    EXPECT_GT(black, 1000);
    EXPECT_GT(same, 1000);
  });
}

TEST_F(MaskedPictureTest, BrightnessAndConditionAreOfWhatIsSeen) {
  const v1::Polygon triangle = Triangle();
  const PrivacyMask mask({&triangle, 1}, 160, 128);
  JpegEncoder encoder(85);
  const auto jpeg =
      encoder
          .Encode(Make(160, 128, Picture::Chroma::k420, 200, 128, 128), &mask)
          .value();
  const double grey = (200 - 16) * 255.0 / 219.0;
  EXPECT_NEAR(jpeg.mean_luma, grey, 0.6);
  EXPECT_NEAR(jpeg.look.mean(), grey, 0.6);
  EXPECT_EQ(jpeg.look.dark_share(), 0);
  EXPECT_EQ(jpeg.look.sharpness(), 0);
  const v1::Polygon all;
  const PrivacyMask everything({&all, 1}, 160, 128);
  const auto black =
      encoder
          .Encode(Make(160, 128, Picture::Chroma::k420, 200, 128, 128),
                  &everything)
          .value();
  EXPECT_EQ(black.mean_luma, 0);
  EXPECT_EQ(black.look.mean(), 0);
}

TEST_F(MaskedPictureTest, AMaskOfAnotherSizeIsRefused) {
  const PrivacyMask mask({}, 64, 47);
  JpegEncoder encoder(85);
  EXPECT_THAT(
      encoder.Encode(Make(64, 48, Picture::Chroma::k420, 1, 128, 128), &mask),
      StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(PlainPictureTest, AnEmptyPictureIsRefused) {
  JpegEncoder encoder(85);
  EXPECT_THAT(encoder.Encode(Picture{}),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

}  // namespace
}  // namespace camherd::capture
