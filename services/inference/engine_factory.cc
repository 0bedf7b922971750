// SPDX-License-Identifier: Apache-2.0
#include "services/inference/engine_factory.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <memory>
#include <system_error>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "services/common/clock.h"
#include "services/common/log.h"
#include "services/common/status_macros.h"
#include "services/inference/hog_engine.h"
#include "services/inference/onnx_export.h"
#include "services/inference/onnx_external_data.h"
#include "services/inference/onnxruntime_engine.h"
#include "services/inference/openvino_engine.h"
#include "services/inference/venv_engine.h"

namespace camherd::inference {
namespace {

absl::StatusOr<Environment::Ready> EnsureEnvironment(
    Environment& environment, InferenceMetrics* metrics,
    const EngineRequest& request, const PrepareProgressFn& progress,
    const StopSignal& stop) {
  const ModelManifest& manifest = request.manifest;
  const absl::Duration start = Clock::Real().SteadyNow();
  absl::StatusOr<Environment::Ready> ready =
      environment.Ensure({.model = manifest.name,
                          .requirements = manifest.requirements_path(),
                          .disk_bytes = manifest.environment_disk_bytes,
                          .rebuild = request.rebuild},
                         progress, stop);
  if (metrics != nullptr && (!ready.ok() || ready->built)) {
    metrics->EnvironmentBuilt(manifest.name, ready.ok(),
                              Clock::Real().SteadyNow() - start);
  }
  return ready;
}

absl::StatusOr<std::unique_ptr<Engine>> MakeVenvEngine(
    const EngineFactoryOptions& options, Environment& environment,
    InferenceMetrics* metrics, const EngineRequest& request,
    const PrepareProgressFn& progress, const StopSignal& stop) {
  const ModelManifest& manifest = request.manifest;
  CAMHERD_ASSIGN_OR_RETURN(
      const Environment::Ready ready,
      EnsureEnvironment(environment, metrics, request, progress, stop));
  progress({camherd::v1::MODEL_STATE_LOADING,
            0,
            0,
            "starting the worker, loading the model",
            {}});
  VenvEngine::Options engine;
  engine.model = manifest.name;
  engine.python = ready.python;
  engine.runner = manifest.runner_path();
  engine.weights = request.weights_path;
  engine.input_width = manifest.input.width;
  engine.input_height = manifest.input.height;
  engine.classes = manifest.classes;
  engine.cache_dir = absl::StrCat(options.cache_dir, "/", manifest.name);
  engine.workers = options.workers_per_model;
  engine.threads_per_worker = options.threads_per_worker;
  engine.memory_bytes = options.worker_memory_bytes;
  engine.start_timeout = options.worker_start_timeout;
  engine.batch_timeout = options.batch_timeout;
  engine.restart_backoff = options.worker_backoff;
  CAMHERD_ASSIGN_OR_RETURN(std::unique_ptr<VenvEngine> made,
                           VenvEngine::Create(engine, stop));
  return made;
}

// To be asked before a runtime in this process opens the network at `path`,
// since runtimes go by what a file holds and open whatever it names.
absl::Status CheckNetwork(const std::string& path) {
  if (absl::EndsWith(path, ".onnx")) return CheckOnnxExternalData(path);
  if (!absl::EndsWith(path, ".xml")) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, " must be an .onnx or an .xml"));
  }
  if (std::ifstream(path).get() != '<') {
    return absl::InvalidArgumentError(
        absl::StrCat(path, " is no network of OpenVINO"));
  }
  return absl::OkStatus();
}

// The weights as a file that an engine of this process reads: a checkpoint is
// exported to ONNX, once. What a network names outside of itself is checked.
absl::StatusOr<std::string> NativeWeights(const EngineFactoryOptions& options,
                                          Environment& environment,
                                          InferenceMetrics* metrics,
                                          const EngineRequest& request,
                                          const PrepareProgressFn& progress,
                                          const StopSignal& stop) {
  const ModelManifest& manifest = request.manifest;
  std::string weights = request.weights_path;
  if (absl::EndsWith(weights, ".pt")) {
    CAMHERD_ASSIGN_OR_RETURN(
        const Environment::Ready ready,
        EnsureEnvironment(environment, metrics, request, progress, stop));
    CAMHERD_ASSIGN_OR_RETURN(
        weights,
        ExportOnnx({.checkpoint = weights,
                    .python = ready.python,
                    .script = absl::StrCat(manifest.dir, "/../export_onnx.py"),
                    .dir = absl::StrCat(options.cache_dir, "/", manifest.name,
                                        "/exported")},
                   progress, stop));
  }
  CAMHERD_RETURN_IF_ERROR(CheckNetwork(weights));
  progress(
      {camherd::v1::MODEL_STATE_LOADING, 0, 0, "compiling the network", {}});
  return weights;
}

DetectorSpec SpecOf(const EngineFactoryOptions& options,
                    const ModelManifest& manifest, const std::string& weights) {
  DetectorSpec spec;
  spec.weights = weights;
  spec.input = manifest.input;
  spec.output = manifest.output;
  spec.class_names =
      manifest.class_names.empty() ? manifest.classes : manifest.class_names;
  spec.classes = manifest.classes;
  spec.rectangular =
      manifest.input.shape == "auto" && options.input_shape == "auto";
  spec.scaled_decoding = options.scaled_decoding;
  spec.cache_dir = absl::StrCat(options.cache_dir, "/", manifest.name);
  spec.max_pixels = options.max_frame_pixels;
  return spec;
}

absl::StatusOr<std::unique_ptr<Engine>> MakeOpenvinoEngine(
    const EngineFactoryOptions& options, const EngineRequest& request,
    const std::string& weights) {
  OpenvinoEngine::Options engine{SpecOf(options, request.manifest, weights)};
  const bool any = options.precision == "auto" || options.precision == "int8";
  engine.precisions = any ? request.manifest.precisions
                          : std::vector<std::string>{options.precision};
  engine.streams = options.streams;
  CAMHERD_ASSIGN_OR_RETURN(std::unique_ptr<OpenvinoEngine> made,
                           OpenvinoEngine::Create(engine));
  return made;
}

bool HasGpuDriver() {
  // On bare metal and in containers; on Windows' Linux.
  std::error_code error;
  return std::filesystem::exists("/dev/nvidiactl", error) ||
         std::filesystem::exists("/dev/dxg", error);
}

bool WantsGpu(const EngineFactoryOptions& options) {
  return options.gpu == "prefer" || options.gpu == "require" ||
         (options.gpu == "auto" && HasGpuDriver());
}

absl::StatusOr<std::unique_ptr<Engine>> MakeOnnxruntimeEngine(
    const EngineFactoryOptions& options, InferenceMetrics* metrics,
    const EngineRequest& request, const std::string& weights) {
  OnnxruntimeEngine::Options engine{SpecOf(options, request.manifest, weights)};
  engine.provider = options.gpu_provider == "tensorrt"
                        ? OnnxruntimeEngine::Provider::kTensorrt
                        : OnnxruntimeEngine::Provider::kCuda;
  engine.gpu = options.gpu_device;
  engine.tf32 = options.precision != "f32";
  engine.max_batch = options.gpu_max_batch;
  engine.max_delay = options.gpu_max_delay;
  engine.threads = options.streams;
  if (WantsGpu(options)) {
    absl::StatusOr<std::unique_ptr<OnnxruntimeEngine>> made =
        OnnxruntimeEngine::Create(engine);
    if (made.ok()) return *std::move(made);
    const absl::Status& status = made.status();
    if (!absl::IsUnavailable(status) || options.gpu == "require") return status;
    LogWarning("no GPU, the processor is used instead",
               {{"model", request.manifest.name}, {"error", status}});
    if (metrics != nullptr) metrics->GpuMissed(request.manifest.name);
    if (request.engine != request.manifest.engines.back()) {
      return absl::UnimplementedError(status.message());
    }
  }
  engine.provider = OnnxruntimeEngine::Provider::kCpu;
  CAMHERD_ASSIGN_OR_RETURN(std::unique_ptr<OnnxruntimeEngine> made,
                           OnnxruntimeEngine::Create(engine));
  return made;
}

}  // namespace

EngineFactory MakeEngineFactory(const EngineFactoryOptions& options,
                                InferenceMetrics* metrics) {
  // shared_ptr, since a std::function is copied.
  auto environment = std::make_shared<Environment>(options.environment);
  return
      [options, environment, metrics](
          const EngineRequest& request, const PrepareProgressFn& progress,
          const StopSignal& stop) -> absl::StatusOr<std::unique_ptr<Engine>> {
        const std::vector<std::string>& engines = request.manifest.engines;
        if (options.gpu == "require" && request.engine != "onnxruntime" &&
            std::find(engines.begin(), engines.end(), "onnxruntime") !=
                engines.end()) {
          return absl::UnimplementedError(absl::StrCat(
              "inference.gpu is require, which ", request.engine, " is not"));
        }
        if (request.engine == "onnxruntime" &&
            request.engine != engines.back() && !WantsGpu(options)) {
          return absl::UnimplementedError(options.gpu == "off"
                                              ? "inference.gpu is off"
                                              : "there is no NVIDIA driver");
        }
        if (request.engine == "openvino" || request.engine == "onnxruntime") {
          CAMHERD_ASSIGN_OR_RETURN(const std::string weights,
                                   NativeWeights(options, *environment, metrics,
                                                 request, progress, stop));
          return request.engine == "openvino"
                     ? MakeOpenvinoEngine(options, request, weights)
                     : MakeOnnxruntimeEngine(options, metrics, request,
                                             weights);
        }
        if (request.engine == "venv") {
          return MakeVenvEngine(options, *environment, metrics, request,
                                progress, stop);
        }
        if (request.engine == "hog") {
          CAMHERD_ASSIGN_OR_RETURN(
              std::unique_ptr<HogEngine> made,
              HogEngine::Create({.parallel = options.workers_per_model,
                                 .max_pixels = options.max_frame_pixels}));
          return made;
        }
        return absl::UnimplementedError(
            absl::StrCat("the engine ", request.engine, " is not built yet"));
      };
}

}  // namespace camherd::inference
