// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "services/inference/detector_spec.h"
#include "services/inference/engine.h"

namespace camherd::inference {

// Detectors on the CPU by OpenVINO, in this process.
//
// A picture's way: JPEG decoded at the smallest scale that still covers the
// network's input, letterboxed into it, one request of one thread, boxes. A
// network whose height and width are free gets the least input for the
// picture's shape (640x384 for 16:9 at 640) where `rectangular` says so; each
// shape is compiled once, and kept on disk in `cache_dir`.
//
// `streams` pictures are in work at once, of one call or of several; see
// turns.h for which go first.
//
// Thread-safe.
class OpenvinoEngine : public Engine {
 public:
  // `weights`: .onnx or .xml, one input [1, 3, H, W], one output. Quantized (it
  // holds FakeQuantize), its precision is "int8".
  struct Options : DetectorSpec {
    // The first of these that the processor has, "bf16" or "f32"; every one has
    // f32.
    std::vector<std::string> precisions = {"f32"};
    // 0: one a core.
    int streams = 0;
  };

  // Reads and compiles the network; seconds, or well under one from the cache.
  // kInvalidArgument: it cannot be read, or its input or output has another
  // shape than the manifest says.
  static absl::StatusOr<std::unique_ptr<OpenvinoEngine>> Create(
      const Options& options);
  ~OpenvinoEngine() override;

  absl::StatusOr<InferResult> Infer(absl::Span<const Picture> pictures,
                                    const InferOptions& options) override;
  JpegSize DecodedSize(const Picture& picture) const override;
  void Stop() override;
  std::string name() const override { return "openvino"; }
  std::string device() const override { return "cpu"; }
  std::string precision() const override;
  int queue_depth() const override;
  int64_t worker_restarts() const override { return 0; }

 private:
  struct Impl;
  explicit OpenvinoEngine(std::unique_ptr<Impl> impl);

  // Keeps OpenVINO's headers in the .cc.
  const std::unique_ptr<Impl> impl_;
};

}  // namespace camherd::inference
