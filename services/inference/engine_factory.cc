// SPDX-License-Identifier: Apache-2.0
#include "services/inference/engine_factory.h"

#include <memory>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "services/common/clock.h"
#include "services/common/status_macros.h"
#include "services/inference/hog_engine.h"
#include "services/inference/onnx_export.h"
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

absl::StatusOr<std::unique_ptr<Engine>> MakeOpenvinoEngine(
    const EngineFactoryOptions& options, Environment& environment,
    InferenceMetrics* metrics, const EngineRequest& request,
    const PrepareProgressFn& progress, const StopSignal& stop) {
  const ModelManifest& manifest = request.manifest;
  OpenvinoEngine::Options engine;
  engine.cache_dir = absl::StrCat(options.cache_dir, "/", manifest.name);
  engine.weights = request.weights_path;
  if (absl::EndsWith(request.weights_path, ".pt")) {
    CAMHERD_ASSIGN_OR_RETURN(
        const Environment::Ready ready,
        EnsureEnvironment(environment, metrics, request, progress, stop));
    CAMHERD_ASSIGN_OR_RETURN(
        engine.weights,
        ExportOnnx({.checkpoint = request.weights_path,
                    .python = ready.python,
                    .script = absl::StrCat(manifest.dir, "/../export_onnx.py"),
                    .dir = absl::StrCat(engine.cache_dir, "/exported")},
                   progress, stop));
  }
  progress(
      {camherd::v1::MODEL_STATE_LOADING, 0, 0, "compiling the network", {}});
  engine.input = manifest.input;
  engine.output = manifest.output;
  engine.class_names =
      manifest.class_names.empty() ? manifest.classes : manifest.class_names;
  engine.classes = manifest.classes;
  const bool any = options.precision == "auto" || options.precision == "int8";
  engine.precisions =
      any ? manifest.precisions : std::vector<std::string>{options.precision};
  engine.rectangular =
      manifest.input.shape == "auto" && options.input_shape == "auto";
  engine.scaled_decoding = options.scaled_decoding;
  engine.streams = options.streams;
  engine.max_pixels = options.max_frame_pixels;
  CAMHERD_ASSIGN_OR_RETURN(std::unique_ptr<OpenvinoEngine> made,
                           OpenvinoEngine::Create(engine));
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
        if (request.engine == "openvino") {
          return MakeOpenvinoEngine(options, *environment, metrics, request,
                                    progress, stop);
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
