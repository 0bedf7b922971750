// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "services/inference/engine.h"

namespace camherd::inference {

// People on foot by OpenCV's built-in detector: histograms of oriented
// gradients and a linear SVM; needs no weights.
// Source: Dalal, Triggs, "Histograms of Oriented Gradients for Human
// Detection", CVPR 2005.
//
// A picture wider than 640 pixels is scaled to 640 first (0.1 s instead of
// 0.5 s at 1080p). The SVM's margin m becomes a score by 1 / (1 + exp(-2 m)),
// so a margin of 0 is 0.5. The detector's window has a rim around the person:
// boxes are cut by the tenth of the width and 7 % of the height that
// OpenCV's sample peopledetect.cpp cuts. Every box is a "person".
//
// `parallel` pictures are in work at once, of one call or of several; see
// turns.h for which go first. Thread-safe.
class HogEngine : public Engine {
 public:
  struct Options {
    int parallel = 1;
    int64_t max_pixels = 33177600;
  };

  static absl::StatusOr<std::unique_ptr<HogEngine>> Create(
      const Options& options);
  ~HogEngine() override;

  absl::StatusOr<InferResult> Infer(absl::Span<const Picture> pictures,
                                    const InferOptions& options) override;
  void Stop() override;
  std::string name() const override { return "hog"; }
  std::string device() const override { return "cpu"; }
  int queue_depth() const override;
  int64_t worker_restarts() const override { return 0; }

 private:
  struct Impl;
  explicit HogEngine(std::unique_ptr<Impl> impl);

  // Keeps OpenCV's headers in the .cc.
  const std::unique_ptr<Impl> impl_;
};

}  // namespace camherd::inference
