// SPDX-License-Identifier: Apache-2.0
#include "services/capture/decoder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <string>

#include "services/capture/keyframe_kind.h"
#include "tests/support/clip.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace camherd::capture {
namespace {

using ::camherd::testing::Clip;
using ::camherd::testing::HaveFfmpeg;
using ::camherd::testing::IsOk;
using ::camherd::testing::MakeClip;
using ::camherd::testing::StatusIs;
using ::camherd::testing::TempDir;

// All samples of a picture, so that pictures can be compared.
std::string Samples(const Picture& picture) {
  std::string out;
  const bool half_w = picture.chroma == Picture::Chroma::k420 ||
                      picture.chroma == Picture::Chroma::k422;
  const bool half_h = picture.chroma == Picture::Chroma::k420;
  for (int p = 0; p < (picture.chroma == Picture::Chroma::kGray ? 1 : 3); ++p) {
    const int w = p > 0 && half_w ? (picture.width + 1) / 2 : picture.width;
    const int h = p > 0 && half_h ? (picture.height + 1) / 2 : picture.height;
    for (int y = 0; y < h; ++y) {
      out.append(reinterpret_cast<const char*>(picture.planes[p]) +
                     static_cast<ptrdiff_t>(y) * picture.strides[p],
                 static_cast<size_t>(w));
    }
  }
  return out;
}

class DecoderTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!HaveFfmpeg()) GTEST_SKIP() << "the ffmpeg program is not installed";
  }

  Clip Make(const std::string& arguments, const std::string& name) {
    absl::StatusOr<Clip> clip = MakeClip(arguments, dir_ / name);
    EXPECT_THAT(clip, IsOk());
    return clip.ok() ? *std::move(clip) : Clip{};
  }

  TempDir dir_;
};

TEST_F(DecoderTest, AKeyframeByItselfGivesThePictureOfFullDecoding) {
  const std::string source = "-f lavfi -i testsrc2=s=320x192:r=10:d=4 ";
  for (const std::string& codec :
       {std::string("-c:v libx264 -bf 2 -g 10 -pix_fmt yuv420p"),
        std::string("-c:v libx265 -x265-params log-level=none:open-gop=0 -g 10 "
                    "-pix_fmt yuv420p"),
        std::string("-c:v mjpeg -q:v 3 -pix_fmt yuvj422p")}) {
    const Clip clip = Make(source + codec, "clip.mkv");
    auto full = Decoder::Create(clip.parameters).value();
    std::map<int64_t, std::string> pictures;
    std::optional<Picture> newest;
    for (size_t i = 0; i < clip.units.size(); ++i) {
      newest.reset();
      ASSERT_THAT(full->Decode(clip.units[i], static_cast<int64_t>(i), &newest),
                  IsOk());
      if (newest) pictures[newest->tag] = Samples(*newest);
    }
    auto single = Decoder::Create(clip.parameters).value();
    int compared = 0;
    for (size_t i = 0; i < clip.units.size(); ++i) {
      if (!clip.units[i].keyframe) continue;
      const auto picture = single->DecodeKeyframe(clip.units[i]);
      ASSERT_THAT(picture, IsOk()) << codec;
      EXPECT_FALSE(picture->corrupt);
      if (pictures.count(static_cast<int64_t>(i)) == 0) continue;
      EXPECT_EQ(Samples(*picture), pictures[static_cast<int64_t>(i)]) << codec;
      ++compared;
    }
    EXPECT_GE(compared, 3) << codec;
  }
}

TEST_F(DecoderTest, KeyframesOfCamerasThatAnnounceTheirHeadersOnlyOnceDecode) {
  // The stream itself holds no SPS: the decoder gets it from the SDP, also
  // after another camera's has gone through.
  const Clip small = Make(
      "-f lavfi -i testsrc2=s=160x96:r=5:d=1 -c:v libx264 -pix_fmt yuv420p",
      "small.mkv");
  const Clip large = Make(
      "-f lavfi -i testsrc2=s=320x192:r=5:d=1 -c:v libx264 -pix_fmt yuv420p",
      "large.mkv");
  const auto without_headers = [](const AccessUnit& unit) {
    AccessUnit bare = unit;
    const size_t idr = unit.data->find(std::string("\0\0\1\x65", 4));
    EXPECT_NE(idr, std::string::npos);
    bare.data = std::make_shared<const std::string>(unit.data->substr(idr));
    EXPECT_FALSE(HasParameterSets(Codec::kH264, *bare.data));
    return bare;
  };
  auto decoder = Decoder::Create(small.parameters).value();
  ASSERT_THAT(decoder->DecodeKeyframe(large.units[0]), IsOk());
  const auto picture = decoder->DecodeKeyframe(without_headers(small.units[0]));
  ASSERT_THAT(picture, IsOk());
  EXPECT_EQ(picture->width, 160);
}

TEST_F(DecoderTest, FollowsAChangeOfResolution) {
  const Clip small = Make(
      "-f lavfi -i testsrc2=s=160x96:r=5:d=1 -c:v libx264 -bf 0 -tune "
      "zerolatency -pix_fmt yuv420p",
      "small.mkv");
  const Clip large = Make(
      "-f lavfi -i testsrc2=s=320x192:r=5:d=1 -c:v libx264 -bf 0 -tune "
      "zerolatency -pix_fmt yuv420p",
      "large.mkv");
  auto decoder = Decoder::Create(small.parameters).value();
  std::optional<Picture> picture;
  for (const AccessUnit& unit : small.units) {
    ASSERT_THAT(decoder->Decode(unit, 0, &picture), IsOk());
  }
  ASSERT_TRUE(picture);
  EXPECT_EQ(picture->width, 160);
  for (const AccessUnit& unit : large.units) {
    ASSERT_THAT(decoder->Decode(unit, 0, &picture), IsOk());
  }
  EXPECT_EQ(picture->width, 320);
  EXPECT_EQ(picture->height, 192);
}

TEST_F(DecoderTest, TenBitPicturesComeOutWithEight) {
  const Clip clip = Make(
      "-f lavfi -i testsrc2=s=160x96:r=5:d=1 -c:v libx265 -x265-params "
      "log-level=none -pix_fmt yuv420p10le",
      "ten.mkv");
  auto decoder = Decoder::Create(clip.parameters).value();
  const auto picture = decoder->DecodeKeyframe(clip.units[0]);
  ASSERT_THAT(picture, IsOk());
  EXPECT_EQ(picture->chroma, Picture::Chroma::k420);
  EXPECT_FALSE(picture->full_range);
}

TEST_F(DecoderTest, SaysRangeAndMatrixAsTheStreamDoesElseByItsHeight) {
  const auto first = [&](const std::string& arguments, const char* name) {
    const Clip clip = Make(arguments, name);
    auto decoder = Decoder::Create(clip.parameters).value();
    return decoder->DecodeKeyframe(clip.units[0]).value();
  };
  const std::string src = "-f lavfi -i testsrc2=s=160x96:r=5:d=0.2 ";
  const std::string big = "-f lavfi -i testsrc2=s=1280x720:r=5:d=0.2 ";
  const std::string x264 = "-c:v libx264 -preset ultrafast -pix_fmt yuv420p ";
  EXPECT_NEAR(first(src + x264, "a.mkv").kr, 0.299, 1e-6);
  EXPECT_NEAR(first(big + x264, "b.mkv").kr, 0.2126, 1e-6);
  EXPECT_NEAR(first(src + x264 + "-colorspace bt709", "c.mkv").kr, 0.2126,
              1e-6);
  EXPECT_NEAR(first(big + x264 + "-colorspace smpte170m", "d.mkv").kr, 0.299,
              1e-6);
  EXPECT_TRUE(first(src + x264 + "-color_range pc", "e.mkv").full_range);
  EXPECT_FALSE(first(src + x264 + "-color_range tv", "f.mkv").full_range);
  const Picture jpeg = first(big + "-c:v mjpeg -pix_fmt yuvj420p", "g.mkv");
  EXPECT_TRUE(jpeg.full_range);
  EXPECT_NEAR(jpeg.kr, 0.299, 1e-6);
}

TEST_F(DecoderTest, DamageShowsAsCorruptOrAsAnErrorButNeverAsASoundPicture) {
  const Clip clip = Make(
      "-f lavfi -i testsrc2=s=640x352:r=5:d=1 -c:v libx264 -pix_fmt yuv420p",
      "clip.mkv");
  AccessUnit damaged = clip.units[0];
  ASSERT_GT(damaged.data->size(), 6000u);
  std::string data = *damaged.data;
  // A lost packet in the middle of the picture.
  data.erase(data.size() / 2, 1400);
  damaged.data = std::make_shared<const std::string>(std::move(data));
  auto decoder = Decoder::Create(clip.parameters).value();
  const auto picture = decoder->DecodeKeyframe(damaged);
  EXPECT_TRUE(!picture.ok() || picture->corrupt);
  // And the next one is sound again.
  const auto next = decoder->DecodeKeyframe(clip.units[0]);
  ASSERT_THAT(next, IsOk());
  EXPECT_FALSE(next->corrupt);
}

TEST(DecoderInputTest, NoiseIsDataLoss) {
  auto decoder = Decoder::Create({.codec = Codec::kH264, .extradata = ""});
  ASSERT_THAT(decoder, IsOk());
  AccessUnit unit;
  unit.data = std::make_shared<const std::string>("this is no video");
  EXPECT_THAT((*decoder)->DecodeKeyframe(unit),
              StatusIs(absl::StatusCode::kDataLoss));
}

}  // namespace
}  // namespace camherd::capture
