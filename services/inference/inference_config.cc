// SPDX-License-Identifier: Apache-2.0
#include "services/inference/inference_config.h"

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "services/common/camera_url.h"
#include "services/common/status_macros.h"

namespace camherd::inference {
namespace {

constexpr int64_t kMiB = int64_t{1} << 20;
constexpr int64_t kGiB = int64_t{1} << 30;

std::string Absolute(const std::string& path) {
  return path.empty()
             ? path
             : std::filesystem::absolute(path).lexically_normal().string();
}

}  // namespace

absl::StatusOr<InferenceConfig> LoadInferenceConfig(
    const YamlConfig& config, const std::string& data_dir) {
  ConfigSection section = config.Section("inference");
  InferenceConfig loaded;
  loaded.listen = section.String("listen", "127.0.0.1:50052");
  loaded.metrics_listen = section.String("metrics_listen", "127.0.0.1:50062");
  loaded.reflection = section.Bool("reflection", true);
  loaded.aggregator = section.String("aggregator", "127.0.0.1:50053");
  loaded.aggregator_timeout =
      section.Seconds("aggregator_timeout_seconds", 10, 0.1, 600);
  loaded.receive_timeout =
      section.Seconds("receive_timeout_seconds", 30, 0.1, 3600);
  loaded.drain = section.Seconds("drain_seconds", 4, 0, 60);
  loaded.not_ready_delay = section.Seconds("not_ready_delay_seconds", 0, 0, 60);
  loaded.prepare = section.List("prepare", {});
  for (const std::string& name : loaded.prepare) {
    if (!IsValidId(name)) section.Fail("prepare", "must hold model names");
  }

  ModelRegistry::Options& registry = loaded.registry;
  registry.models_dir = Absolute(section.String("models_dir", "./models"));
  std::string weights_dir = section.String("weights_dir", "");
  if (const auto set = config.environment().find("CAMHERD_WEIGHTS_DIR");
      weights_dir.empty() && set != config.environment().end()) {
    weights_dir = set->second;
  }
  registry.weights_dir = Absolute(weights_dir);
  registry.cache_dir = absl::StrCat(data_dir, "/model_cache/weights");
  registry.fetch_weights = section.Bool("fetch_weights", true);
  registry.fetcher.max_bytes =
      section.Bytes("weights_max_bytes", kGiB, 1, 100 * kGiB);
  registry.fetcher.timeout =
      section.Seconds("weights_timeout_seconds", 600, 1, 86400);
  registry.failed_retry =
      section.Seconds("failed_retry_seconds", 300, 0.01, 86400);

  EngineFactoryOptions& engines = loaded.engines;
  engines.environment.venvs_dir = absl::StrCat(data_dir, "/venvs");
  engines.environment.python = section.String("python", "");
  engines.environment.uv = section.String("uv", "");
  engines.environment.only_binary = section.Bool("only_binary", true);
  engines.environment.timeout =
      section.Seconds("environment_timeout_seconds", 3600, 1, 86400);
  engines.cache_dir = absl::StrCat(data_dir, "/model_cache");
  engines.streams = static_cast<int>(section.Int("streams", 0, 0, 1024));
  engines.precision =
      section.Choice("precision", "auto", {"auto", "bf16", "f32", "int8"});
  registry.int8 = engines.precision == "int8";
  engines.input_shape =
      section.Choice("input_shape", "auto", {"auto", "square"});
  engines.scaled_decoding = section.Bool("scaled_decoding", true);
  engines.gpu =
      section.Choice("gpu", "auto", {"auto", "off", "prefer", "require"});
  engines.gpu_provider =
      section.Choice("gpu_provider", "cuda", {"cuda", "tensorrt"});
  engines.gpu_device = static_cast<int>(section.Int("gpu_device", 0, 0, 63));
  engines.gpu_max_batch =
      static_cast<int>(section.Int("gpu_max_batch", 32, 1, 256));
  engines.gpu_max_delay =
      section.Seconds("gpu_max_delay_seconds", 0.005, 0, 10);
  engines.workers_per_model =
      static_cast<int>(section.Int("workers_per_model", 1, 1, 64));
  engines.threads_per_worker =
      static_cast<int>(section.Int("threads_per_worker", 1, 1, 256));
  engines.worker_memory_bytes =
      section.Bytes("worker_memory_bytes", 4 * kGiB, 0, 1024 * kGiB);
  engines.worker_start_timeout =
      section.Seconds("worker_start_timeout_seconds", 300, 0.1, 3600);
  engines.batch_timeout =
      section.Seconds("batch_timeout_seconds", 120, 0.1, 3600);
  engines.worker_backoff.initial =
      section.Seconds("worker_backoff_initial_seconds", 0.2, 0.001, 3600);
  engines.worker_backoff.max =
      section.Seconds("worker_backoff_max_seconds", 10, 0.001, 3600);

  InferenceCore::Options& core = loaded.core;
  core.max_batches_in_flight =
      static_cast<int>(section.Int("max_batches_in_flight", 16, 1, 1000));
  core.max_bytes_in_flight =
      section.Bytes("max_bytes_in_flight", 256 * kMiB, kMiB, 64 * kGiB);
  core.max_frame_bytes =
      section.Bytes("max_frame_bytes", 16 * kMiB, 1024, 16 * kMiB);
  core.max_frame_pixels =
      section.Int("max_frame_pixels", 33177600, 1, int64_t{1} << 30);
  engines.max_frame_pixels = core.max_frame_pixels;
  core.max_detects_in_flight =
      static_cast<int>(section.Int("max_detects_in_flight", 4, 1, 1000));
  core.queue_timeout = section.Seconds("queue_timeout_seconds", 120, 0.1, 3600);
  core.admission_retry =
      section.Seconds("admission_retry_seconds", 1, 0.001, 3600);
  core.model_retry = section.Seconds("model_retry_seconds", 5, 0.001, 3600);
  core.aggregator_retry =
      section.Seconds("aggregator_retry_seconds", 2, 0.001, 3600);
  core.cache_batches = static_cast<size_t>(
      section.Int("results_cache_batches", 256, 1, 1000000));
  core.cache_bytes = static_cast<size_t>(
      section.Bytes("results_cache_bytes", 64 * kMiB, 1024, 64 * kGiB));
  CAMHERD_RETURN_IF_ERROR(section.Finish());
  loaded.effective = section.effective();
  return loaded;
}

}  // namespace camherd::inference
