// SPDX-License-Identifier: Apache-2.0
#include "services/capture/keyframe_kind.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

namespace camherd::capture {
namespace {

// Finds NAL units one after the other.
class NalReader {
 public:
  explicit NalReader(absl::string_view data) : data_(data) { Advance(0); }

  // The bytes from the header of the current NAL unit to the end of the data;
  // empty when there is none. Its end is not looked for: slices are long.
  absl::string_view Current() const { return data_.substr(position_); }
  void Skip() { Advance(position_); }

 private:
  void Advance(size_t from) {
    const size_t start = data_.find(absl::string_view("\0\0\1", 3), from);
    position_ = start == absl::string_view::npos ? data_.size() : start + 3;
  }

  const absl::string_view data_;
  size_t position_ = 0;
};

// The first unsigned Exp-Golomb code (H.264 §9.1) of `data`.
std::optional<uint32_t> FirstUe(absl::string_view data) {
  size_t bit = 0;
  const auto next = [&]() -> int {
    if (bit / 8 >= data.size()) return -1;
    const int value =
        (static_cast<uint8_t>(data[bit / 8]) >> (7 - bit % 8)) & 1;
    ++bit;
    return value;
  };
  int zeros = 0;
  int b = next();
  while (b == 0) {
    if (++zeros > 31) return std::nullopt;
    b = next();
  }
  if (b < 0) return std::nullopt;
  uint32_t rest = 0;
  for (int i = 0; i < zeros; ++i) {
    b = next();
    if (b < 0) return std::nullopt;
    rest = rest << 1 | static_cast<uint32_t>(b);
  }
  return (uint32_t{1} << zeros) - 1 + rest;
}

// recovery_frame_cnt of an H.264 SEI NAL unit (after its header byte), if it
// holds a recovery point.
std::optional<uint32_t> RecoveryFrameCount(absl::string_view sei) {
  constexpr int kRecoveryPoint = 6;
  // Messages before a slice are short; emulation prevention bytes do not occur
  // in the few bytes that matter here except after two zeros, and a payload
  // that holds some only makes the walk end early.
  sei = sei.substr(0, 256);
  size_t i = 0;
  const auto number = [&]() -> int {
    int value = 0;
    while (i < sei.size() && static_cast<uint8_t>(sei[i]) == 0xff) {
      value += 255;
      ++i;
    }
    if (i >= sei.size()) return -1;
    return value + static_cast<uint8_t>(sei[i++]);
  };
  while (i < sei.size() && static_cast<uint8_t>(sei[i]) != 0x80) {
    const int type = number();
    const int size = number();
    if (type < 0 || size < 0) return std::nullopt;
    if (type == kRecoveryPoint) {
      return FirstUe(
          sei.substr(std::min(i, sei.size()), static_cast<size_t>(size)));
    }
    i += static_cast<size_t>(size);
  }
  return std::nullopt;
}

KeyframeKind ClassifyH264(absl::string_view access_unit) {
  std::optional<uint32_t> recovery;
  for (NalReader reader(access_unit);; reader.Skip()) {
    const absl::string_view nal = reader.Current();
    if (nal.empty()) return KeyframeKind::kNone;
    const int type = nal[0] & 31;
    if (type == 5) return KeyframeKind::kClosed;
    if (type == 6 && !recovery) recovery = RecoveryFrameCount(nal.substr(1));
    if (type >= 1 && type <= 4) {
      return recovery == 0u ? KeyframeKind::kOpen : KeyframeKind::kNone;
    }
  }
}

KeyframeKind ClassifyH265(absl::string_view access_unit) {
  for (NalReader reader(access_unit);; reader.Skip()) {
    const absl::string_view nal = reader.Current();
    if (nal.empty()) return KeyframeKind::kNone;
    const int type = (nal[0] >> 1) & 63;
    if (type >= 16 && type <= 20) return KeyframeKind::kClosed;
    if (type == 21) return KeyframeKind::kOpen;
    if (type < 32) return KeyframeKind::kNone;
  }
}

}  // namespace

KeyframeKind ClassifyKeyframe(Codec codec, absl::string_view access_unit,
                              bool keyframe) {
  if (codec == Codec::kMjpeg) return KeyframeKind::kClosed;
  if (!keyframe) return KeyframeKind::kNone;
  switch (codec) {
    case Codec::kH264:
      return ClassifyH264(access_unit);
    case Codec::kH265:
      return ClassifyH265(access_unit);
    case Codec::kMpeg4:
    case Codec::kMjpeg:
      break;
  }
  return KeyframeKind::kOpen;
}

int FirstH265SliceType(absl::string_view access_unit) {
  for (NalReader reader(access_unit);; reader.Skip()) {
    const absl::string_view nal = reader.Current();
    if (nal.empty()) return -1;
    const int type = (nal[0] >> 1) & 63;
    if (type < 32) return type;
  }
}

bool HasParameterSets(Codec codec, absl::string_view access_unit) {
  if (codec == Codec::kMjpeg) return true;
  if (codec == Codec::kMpeg4) {
    // A video object layer start code, 0x20..0x2f (ISO 14496-2 §6.2.1).
    for (NalReader reader(access_unit);; reader.Skip()) {
      const absl::string_view unit = reader.Current();
      if (unit.empty()) return false;
      const uint8_t code = static_cast<uint8_t>(unit[0]);
      if (code >= 0x20 && code <= 0x2f) return true;
      if (code == 0xb6) return false;
    }
  }
  for (NalReader reader(access_unit);; reader.Skip()) {
    const absl::string_view nal = reader.Current();
    if (nal.empty()) return false;
    if (codec == Codec::kH264) {
      const int type = nal[0] & 31;
      if (type == 7) return true;
      if (type >= 1 && type <= 5) return false;
    } else {
      const int type = (nal[0] >> 1) & 63;
      if (type == 33) return true;
      if (type < 32) return false;
    }
  }
}

}  // namespace camherd::capture
