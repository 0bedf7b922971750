// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "services/inference/detector_spec.h"
#include "services/inference/engine.h"

namespace camherd::inference {

// Detectors by ONNX Runtime, for GPUs: its providers for CUDA and TensorRT, and
// by the same way the processor's.
//
// A picture's way: JPEG decoded by the caller's thread at the smallest scale
// that still covers the network's input, copied into memory that the GPU reads,
// gathered with those of other calls into a batch (BatchGatherer); letterboxed,
// run and decoded to boxes on the device (DetectionDevice), from which only the
// boxes come back.
//
// Thread-safe.
class OnnxruntimeEngine : public Engine {
 public:
  enum class Provider { kCpu, kCuda, kTensorrt };
  // `weights`: .onnx, one float32 input [B, 3, H, W], one output.
  struct Options : DetectorSpec {
    Provider provider = Provider::kCpu;
    // Number of the GPU.
    int gpu = 0;
    // TensorFloat-32 on GPUs that have it: "tf32" instead of "f32".
    bool tf32 = true;
    // Most pictures of a batch, where the network takes more than one, and
    // longest wait for them.
    int max_batch = 32;
    absl::Duration max_delay = absl::Milliseconds(5);
    // Threads of the CPU provider; 0: one a core.
    int threads = 0;
  };

  // Loads the network and runs it once; seconds, with TensorRT minutes the
  // first time. kInvalidArgument: the network cannot be read, or its input or
  // output has another shape than the manifest says; kUnavailable: the
  // provider, or its GPU, cannot be used here, and why.
  static absl::StatusOr<std::unique_ptr<OnnxruntimeEngine>> Create(
      const Options& options);
  ~OnnxruntimeEngine() override;

  absl::StatusOr<InferResult> Infer(absl::Span<const Picture> pictures,
                                    const InferOptions& options) override;
  JpegSize DecodedSize(const Picture& picture) const override;
  void Stop() override;
  std::string name() const override { return "onnxruntime"; }
  // "cpu", "cuda:0", "tensorrt:0".
  std::string device() const override;
  std::string precision() const override;
  int queue_depth() const override;
  int64_t worker_restarts() const override { return 0; }

 private:
  struct Impl;
  explicit OnnxruntimeEngine(std::unique_ptr<Impl> impl);

  // Keeps ONNX Runtime's headers in the .cc.
  const std::unique_ptr<Impl> impl_;
};

}  // namespace camherd::inference
