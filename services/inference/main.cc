// SPDX-License-Identifier: Apache-2.0
#include <prometheus/registry.h>

#include <cstdio>
#include <memory>

#include "absl/strings/ascii.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "services/common/audit_log.h"
#include "services/common/clock.h"
#include "services/common/file.h"
#include "services/common/grpc_health_check.h"
#include "services/common/grpc_server.h"
#include "services/common/log.h"
#include "services/common/metrics_exporter.h"
#include "services/common/service_main.h"
#include "services/common/systemd_notifier.h"
#include "services/inference/aggregator_client.h"
#include "services/inference/inference_config.h"
#include "services/inference/inference_service.h"

namespace {

using namespace camherd;
using namespace camherd::inference;

std::string StateLabel(camherd::v1::ModelState state) {
  return absl::AsciiStrToLower(
      absl::StripPrefix(camherd::v1::ModelState_Name(state), "MODEL_STATE_"));
}

InferenceMetrics::Sample TakeSample(InferenceCore& core,
                                    ModelRegistry& registry) {
  InferenceMetrics::Sample sample;
  sample.batches_in_flight = core.batches_in_flight();
  sample.bytes_in_flight = core.bytes_in_flight();
  for (const auto& one : registry.Samples()) {
    sample.models.push_back({one.model, StateLabel(one.state), one.queue_depth,
                             one.worker_restarts});
  }
  return sample;
}

int Fail(const absl::Status& status) {
  LogError("cannot start", {{"error", status}});
  return 1;
}

int Serve(const InferenceConfig& config, const ServiceArgs& args) {
  const std::string& data_dir = args.data_dir;
  LogInfo("configuration", {{"data_dir", data_dir},
                            {"models_dir", config.registry.models_dir},
                            {"weights_dir", config.registry.weights_dir},
                            {"config", absl::StrJoin(config.effective, " ")}});
  if (const absl::Status made = MakeDirs(data_dir); !made.ok()) {
    return Fail(made);
  }
  auto exporter = MetricsExporter::Create(config.metrics_listen);
  if (!exporter.ok()) return Fail(exporter.status());
  InferenceMetrics metrics(*(*exporter)->registry());
  // Models and their engines, then the way to the aggregator, then the core
  // that uses both, then the calls.
  ModelRegistry registry(config.registry,
                         MakeEngineFactory(config.engines, &metrics),
                         Clock::Real(), &metrics);
  AggregatorClient aggregator({.target = config.aggregator,
                               .timeout = config.aggregator_timeout,
                               .security = args.grpc});
  InferenceCore core(config.core, registry, aggregator, &metrics);
  const auto collector = InferenceMetrics::MakeCollector(
      [&core, &registry] { return TakeSample(core, registry); });
  (*exporter)->AddCollectable(collector);
  InferenceServiceImpl service({.receive_timeout = config.receive_timeout},
                               core, registry, &metrics);
  AuditLog audit({.path = args.audit_file,
                  .service = "inference",
                  .counted = (*exporter)->AuditCounter()},
                 Clock::Real());
  auto server = GrpcServer::Start(
      {.listen = config.listen,
       .reflection = config.reflection,
       .security = args.grpc,
       .audit = &audit,
       .audited = {"PrepareModel", "UnloadModel"}},
      {&service}, {camherd::v1::InferenceService::service_full_name()});
  if (!server.ok()) return Fail(server.status());
  for (const std::string& name : config.prepare) {
    const auto prepared = registry.Prepare(name, /*rebuild=*/false);
    if (!prepared.ok()) {
      LogWarning("model cannot be prepared",
                 {{"model", name}, {"error", prepared.status()}});
    }
  }
  if (args.grpc.tls()) {
    (*exporter)->WatchCertificate(args.grpc.certificate_file);
  }
  (*server)->SetServing(true);
  (*exporter)->SetReady(true);
  const GrpcHealthCheck health((*server)->address(), args.grpc);
  SystemdNotifier systemd([&] {
    if (absl::Status alive = core.CheckAlive(); !alive.ok()) return alive;
    return health.IsServing(kHealthTimeout).status();
  });
  LogInfo("serving", {{"grpc", (*server)->address()},
                      {"metrics", (*exporter)->address()}});

  ShutdownSignal().Wait();
  // In reverse: take in nothing more, end what runs (the batches are in
  // capture's spool), end the workers' process groups.
  systemd.Stop();
  (*server)->SetServing(false);
  (*exporter)->SetReady(false);
  Clock::Real().SleepFor(config.not_ready_delay);
  core.Drain();
  registry.Stop();
  service.StopWatches();
  (*server)->Stop(config.drain);
  core.Stop();
  // No scrape may ask the core once it is gone.
  exporter->reset();
  LogInfo("stopped");
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const ServiceArgs args =
      StartServiceMain(argc, argv, "inference",
                       "Runs models on batches of frames and hands the results "
                       "to the aggregator.",
                       {HealthOption()});
  if (args.done) return args.exit_code;
  const auto config = LoadInferenceConfig(args.config, args.data_dir);
  if (!config.ok()) {
    LogError("bad configuration", {{"error", config.status()}});
    return 2;
  }
  if (args.check_config) {
    puts("configuration ok");
    return 0;
  }
  if (args.own.contains("health")) {
    return RunHealthCommand(config->listen, args.grpc);
  }
  return Serve(*config, args);
}
