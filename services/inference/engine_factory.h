// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "absl/time/time.h"
#include "services/common/backoff.h"
#include "services/inference/environment.h"
#include "services/inference/inference_metrics.h"
#include "services/inference/model_registry.h"

namespace camherd::inference {

struct EngineFactoryOptions {
  Environment::Options environment;
  // Folder for what models' libraries write, absolute.
  std::string cache_dir;
  int workers_per_model = 1;
  int threads_per_worker = 1;
  int64_t worker_memory_bytes = 0;
  absl::Duration worker_start_timeout = absl::Seconds(300);
  absl::Duration batch_timeout = absl::Seconds(120);
  Backoff::Options worker_backoff = {absl::Milliseconds(200),
                                     absl::Seconds(10)};
  int64_t max_frame_pixels = 33177600;
  // For the native engines: pictures in work at once, 0 one a core; "auto" or
  // one precision for all models; "auto" or "square"; and whether JPEGs are
  // decoded at a part of their size.
  int streams = 0;
  std::string precision = "auto";
  std::string input_shape = "auto";
  bool scaled_decoding = true;
  // For the engine "onnxruntime". "off": it takes no GPU; "prefer", "require":
  // without one the model's next engine is taken, with a warning, or the model
  // FAILED; "auto": "prefer" where there is an NVIDIA driver, else "off".
  // Without a GPU it runs on the processor where a model has no other engine
  // after it.
  std::string gpu = "auto";
  // "cuda" or "tensorrt", and the GPU's number.
  std::string gpu_provider = "cuda";
  int gpu_device = 0;
  // Most pictures of a batch, and longest wait for them.
  int gpu_max_batch = 32;
  absl::Duration gpu_max_delay = absl::Milliseconds(5);
};

// Makes the engines this binary has: "openvino", "onnxruntime", "venv", with
// its environment, and "hog". kUnimplemented for the others a manifest may
// name. `metrics` may be null and must outlive the factory.
EngineFactory MakeEngineFactory(const EngineFactoryOptions& options,
                                InferenceMetrics* metrics);

}  // namespace camherd::inference
