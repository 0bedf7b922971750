// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "services/capture/packet_source.h"

namespace camherd::capture {

// A decoded picture: planes of 8-bit samples, top row first.
struct Picture {
  // Samples of the chroma planes against luma: half in both directions, half
  // horizontally, all, none at all.
  enum class Chroma { k420, k422, k444, kGray };

  int width = 0;
  int height = 0;
  Chroma chroma = Chroma::k420;
  // Y', Cb, Cr; the latter two absent for kGray. A row holds `width` samples
  // (chroma: rounded up).
  const uint8_t* planes[3] = {nullptr, nullptr, nullptr};
  int strides[3] = {0, 0, 0};
  // False: Y' 16..235, Cb and Cr 16..240 (ITU-T H.273 §8.3).
  bool full_range = false;
  // Share of red and blue in Y' (H.273 table 4, MatrixCoefficients): BT.601
  // 0.299, 0.114; BT.709 0.2126, 0.0722. What the stream says; where it says
  // nothing, BT.709 from 720 lines on, else BT.601.
  double kr = 0.299;
  double kb = 0.114;
  // Parts are concealed or refer to what is missing: never to be stored.
  bool corrupt = false;
  // Begins a GOP.
  bool keyframe = false;
  // Which access unit it comes from: the tag it was sent with.
  int64_t tag = 0;
  // shared_ptr: keeps the planes, which belong to the decoder's frame pool.
  std::shared_ptr<const void> owner;
};

// Decodes access units of one codec, one thread, whatever the size of the
// picture, which may change on the way (at most 33 megapixels).
//
// Two ways to use it, not to be mixed:
//  - DecodeKeyframe, for single keyframes of any number of cameras. Nothing is
//    carried over from one to the next, except memory.
//  - Decode, access unit after access unit of one camera. The decoder delays
//    pictures by its reorder depth, as a player's does.
//
// Not thread-safe.
class Decoder {
 public:
  // kInternal if the library has no such decoder.
  static absl::StatusOr<std::unique_ptr<Decoder>> Create(
      const VideoParameters& parameters);
  ~Decoder();

  Decoder(const Decoder&) = delete;
  Decoder& operator=(const Decoder&) = delete;

  // The picture of one keyframe. kDataLoss if it gives none.
  absl::StatusOr<Picture> DecodeKeyframe(const AccessUnit& unit);

  // Forgets everything before the next access unit; to be followed by a
  // keyframe.
  void Restart();

  // Decodes the next access unit. Pictures that come out replace `*newest`,
  // with `tag` of the access unit each was made of. kDataLoss if the access
  // unit cannot be used; the decoder goes on.
  absl::Status Decode(const AccessUnit& unit, int64_t tag,
                      std::optional<Picture>* newest);

  // Pictures held back for reordering, as known so far.
  int delay() const;

 private:
  class Impl;
  explicit Decoder(std::unique_ptr<Impl> impl);

  std::unique_ptr<Impl> impl_;
};

}  // namespace camherd::capture
