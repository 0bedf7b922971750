// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "absl/strings/string_view.h"
#include "services/capture/packet_source.h"

namespace camherd::capture {

// What decoding can begin with.
enum class KeyframeKind {
  // Not a keyframe, or one from which the picture only recovers over time
  // (intra refresh).
  kNone,
  // Nothing after it refers to anything before it: H.264 IDR, H.265 IDR and
  // BLA, every MJPEG picture.
  kClosed,
  // A whole picture, but some that follow it are shown before it and refer to
  // what came earlier: H.264 recovery point (Annex D.2.8) with a frame count
  // of 0, H.265 CRA, an MPEG-4 intra VOP.
  kOpen,
};

// Looks at the NAL unit headers of one access unit in Annex B form up to its
// first slice (H.264 table 7-1, H.265 table 7-1). `keyframe` is what the
// parser said; it decides alone for codecs without NAL units.
KeyframeKind ClassifyKeyframe(Codec codec, absl::string_view access_unit,
                              bool keyframe);

// NAL type of the first slice of an H.265 access unit (table 7-1); -1: it has
// none.
int FirstH265SliceType(absl::string_view access_unit);

// True if the access unit brings the headers its first slice needs (SPS).
bool HasParameterSets(Codec codec, absl::string_view access_unit);

}  // namespace camherd::capture
