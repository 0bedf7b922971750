// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "services/inference/kernels/detection_device.h"

namespace camherd::inference {

// The processor itself, by the functions of detection_kernels.h.
class HostDevice : public DetectionDevice {
 public:
  std::string name() const override { return "cpu"; }
  void* stream() const override { return nullptr; }
  std::shared_ptr<uint8_t[]> AllocateHost(size_t bytes) override {
    return std::shared_ptr<uint8_t[]>(new uint8_t[bytes]);
  }
  float* Input(size_t floats) override { return Grow(input_, floats); }
  float* Output(size_t floats) override { return Grow(output_, floats); }
  void Letterbox(std::span<const PlacedPicture> pictures,
                 const InputLayout& layout) override {
    LetterboxOnHost(
        pictures, layout,
        Input(pictures.size() * 3 * static_cast<size_t>(layout.width) *
              static_cast<size_t>(layout.height)));
  }
  std::vector<std::vector<ScoredBox>> Decode(
      const OutputLayout& layout,
      std::span<const Thresholds> pictures) override {
    std::vector<std::vector<ScoredBox>> boxes;
    for (const Thresholds& thresholds : pictures) {
      boxes.push_back(DecodeOnHost(
          output_.data() + boxes.size() * layout.size(), layout, thresholds));
    }
    return boxes;
  }

 private:
  static float* Grow(std::vector<float>& memory, size_t floats) {
    if (memory.size() < floats) memory.resize(floats);
    return memory.data();
  }

  std::vector<float> input_;
  std::vector<float> output_;
};

}  // namespace camherd::inference
