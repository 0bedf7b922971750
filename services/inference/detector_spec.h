// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "services/inference/engine.h"
#include "services/inference/jpeg_decoder.h"
#include "services/inference/letterbox.h"
#include "services/inference/model_manifest.h"

namespace camherd::inference {

// A detector, as the engines of this process are told of it, and what they have
// in common.
struct DetectorSpec {
  // Sides of the input are multiples of the networks' largest stride.
  static constexpr int kStride = 32;

  std::string weights;
  InputSpec input;
  // Layout of the network's output, as DetectionDecoder takes it.
  std::string output;
  // All classes in the order of the output, and those that are kept.
  std::vector<std::string> class_names;
  std::vector<std::string> classes;
  // The least input for a picture's shape, where the network leaves height and
  // width free; else always the manifest's.
  bool rectangular = true;
  // JPEGs are decoded at the smallest scale that still covers the input.
  bool scaled_decoding = true;
  // Where the engine keeps what it compiled.
  std::string cache_dir;
  int64_t max_pixels = 33177600;

  // The input for pictures of that shape; `dynamic`: the network leaves its
  // height and width free.
  InputSize SizeFor(int width, int height, bool dynamic) const;
  // Least size at which pictures are decoded: for Engine::DecodedSize.
  JpegSize DecodedSize(const Picture& picture) const;
  // kInvalidArgument: it cannot be decoded.
  absl::StatusOr<std::shared_ptr<const Bitmap>> Decode(
      const Picture& picture, const Letterbox& letterbox) const;
};

}  // namespace camherd::inference
