// SPDX-License-Identifier: Apache-2.0
#include "services/capture/keyframe_kind.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace camherd::capture {
namespace {

std::string Nals(const std::vector<std::string>& nals) {
  std::string out;
  for (const std::string& nal : nals) {
    out += std::string("\0\0\0\1", 4) + nal;
  }
  return out;
}

const std::string kSps = "\x67sps";
const std::string kIdr = "\x65slice";
const std::string kSlice = "\x41slice";
// SEI: recovery point (6), one byte: ue(0) is bit 1; ue(5) is 00110.
const std::string kRecoversAtOnce = "\x06\x06\x01\xc4\x80";
const std::string kRecoversLater = "\x06\x06\x01\x32\x80";

TEST(KeyframeKindTest, AnH264IdrIsClosed) {
  EXPECT_EQ(ClassifyKeyframe(Codec::kH264, Nals({kSps, "\x68pps", kIdr}), true),
            KeyframeKind::kClosed);
}

TEST(KeyframeKindTest, AnH264RecoveryPointOfZeroPicturesIsOpen) {
  EXPECT_EQ(
      ClassifyKeyframe(Codec::kH264, Nals({kRecoversAtOnce, kSlice}), true),
      KeyframeKind::kOpen);
}

TEST(KeyframeKindTest, IntraRefreshIsNoKeyframe) {
  EXPECT_EQ(
      ClassifyKeyframe(Codec::kH264, Nals({kRecoversLater, kSlice}), true),
      KeyframeKind::kNone);
}

TEST(KeyframeKindTest, AnOrdinarySliceIsNone) {
  EXPECT_EQ(ClassifyKeyframe(Codec::kH264, Nals({kSlice}), false),
            KeyframeKind::kNone);
  EXPECT_EQ(ClassifyKeyframe(Codec::kH264, "", true), KeyframeKind::kNone);
}

TEST(KeyframeKindTest, H265TellsIdrFromCra) {
  EXPECT_EQ(
      ClassifyKeyframe(Codec::kH265, Nals({"\x40\x01", "\x26\x01x"}), true),
      KeyframeKind::kClosed);
  EXPECT_EQ(
      ClassifyKeyframe(Codec::kH265, Nals({"\x40\x01", "\x2a\x01x"}), true),
      KeyframeKind::kOpen);
  EXPECT_EQ(ClassifyKeyframe(Codec::kH265, Nals({"\x02\x01x"}), true),
            KeyframeKind::kNone);
}

TEST(KeyframeKindTest, EveryMjpegPictureIsClosed) {
  EXPECT_EQ(ClassifyKeyframe(Codec::kMjpeg, "\xff\xd8", false),
            KeyframeKind::kClosed);
}

TEST(KeyframeKindTest, FindsTheParameterSetsBeforeTheSlice) {
  EXPECT_TRUE(HasParameterSets(Codec::kH264, Nals({kSps, kIdr})));
  EXPECT_FALSE(HasParameterSets(Codec::kH264, Nals({kIdr, kSps})));
  EXPECT_TRUE(
      HasParameterSets(Codec::kH265, Nals({"\x42\x01sps", "\x26\x01x"})));
  EXPECT_FALSE(HasParameterSets(Codec::kH265, Nals({"\x26\x01x"})));
}

}  // namespace
}  // namespace camherd::capture
