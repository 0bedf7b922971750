// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/str_join.h"
#include "services/capture/address_policy.h"
#include "services/capture/aggregator_client.h"
#include "services/capture/capture_config.h"
#include "services/capture/capture_metrics.h"
#include "services/capture/capture_service.h"
#include "services/capture/inference_client.h"
#include "services/capture/libav_connection.h"
#include "services/capture/libav_packet_source.h"
#include "services/capture/probe_command.h"
#include "services/capture/process_prober.h"
#include "services/capture/process_workers.h"
#include "services/capture/source_probe.h"
#include "services/capture/spool_layout.h"
#include "services/capture/stream_store.h"
#include "services/capture/stream_supervisor.h"
#include "services/capture/worker_process.h"
#include "services/common/audit_log.h"
#include "services/common/child_process.h"
#include "services/common/clock.h"
#include "services/common/file.h"
#include "services/common/grpc_health_check.h"
#include "services/common/grpc_server.h"
#include "services/common/log.h"
#include "services/common/metrics_exporter.h"
#include "services/common/service_main.h"
#include "services/common/status_macros.h"
#include "services/common/systemd_notifier.h"

namespace camherd::capture {
namespace {

// Of this program as one of its own worker processes; not for people.
constexpr char kWorkerArgument[] = "--worker";

// For a person at a terminal the process of the command is one of its own.
absl::StatusOr<std::unique_ptr<SourceProber>> MakeProber(
    const CaptureConfig& config, Clock& clock) {
  CAMHERD_ASSIGN_OR_RETURN(
      const AddressPolicy policy,
      AddressPolicy::Create({.allow_networks = config.allow_networks,
                             .allow_loopback = config.allow_loopback}));
  return std::make_unique<SourceProbe>(
      config.probe, policy, MakeLibavConnections(clock),
      MakeLibavPacketSources(policy, clock), clock);
}

absl::Status Run(const CaptureConfig& config, const ServiceArgs& args) {
  Clock& clock = Clock::Real();
  // The truth first: it also keeps a second service out of the folder.
  CAMHERD_RETURN_IF_ERROR(MakeDirs(config.store.data_dir));
  CAMHERD_ASSIGN_OR_RETURN(const auto store, StreamStore::Open(config.store));
  for (const std::string& folder : {SpoolRoot(config.store.data_dir),
                                    BrightestRoot(config.store.data_dir)}) {
    // A disk that is full costs samples, not the start.
    if (const absl::Status made = MakeDirs(folder);
        !made.ok() && !absl::IsResourceExhausted(made)) {
      return made;
    }
  }
  CAMHERD_ASSIGN_OR_RETURN(const auto exporter,
                           MetricsExporter::Create(config.metrics_listen));
  CaptureMetrics metrics(*exporter, config.per_camera_metrics);
  const auto inference = MakeInferenceClient(config.inference, args.grpc);
  const auto aggregator = MakeAggregatorClient(config.aggregator, args.grpc);
  StreamSupervisor supervisor(config.supervisor, *store, *inference,
                              *aggregator, &metrics, clock);

  // Then what receives, since the supervisor assigns the resumed streams.
  ProcessWorkers::Options workers_options = config.workers;
  workers_options.worker.file = "/proc/self/exe";
  workers_options.worker.argv = {"camherd-capture", kWorkerArgument};
  ProcessProber prober(workers_options.worker, config.probe, clock);

  ProcessWorkers workers(
      workers_options,
      [&](const v1::FromWorker& event) {
        if (event.has_sample()) metrics.SampleTaken(event.sample());
        supervisor.OnEvent(event);
      },
      clock);
  CAMHERD_RETURN_IF_ERROR(supervisor.Start(workers));
  metrics.Attach(supervisor);

  // Last what takes requests.
  const CaptureGrpcService::Options service_options = {
      .probes = static_cast<size_t>(config.max_probes)};
  CaptureGrpcService service(service_options, supervisor, prober, &metrics);
  AuditLog audit({.path = args.audit_file,
                  .service = "capture",
                  .counted = exporter->AuditCounter()},
                 clock);
  const auto server =
      GrpcServer::Start({.listen = config.listen,
                         .reflection = config.reflection,
                         .security = args.grpc,
                         .audit = &audit,
                         .audited = {"StartStream", "StopStream",
                                     "UpdateStream", "DeleteStream"}},
                        {&service}, {"camherd.v1.CaptureService"});
  if (!server.ok()) {
    supervisor.Shutdown();
    return server.status();
  }
  if (args.grpc.tls()) {
    exporter->WatchCertificate(args.grpc.certificate_file);
  }
  const GrpcHealthCheck health((*server)->address(), args.grpc);
  SystemdNotifier systemd([&] {
    if (absl::Status alive = supervisor.CheckAlive(); !alive.ok()) return alive;
    return health.IsServing(kHealthTimeout).status();
  });
  supervisor.WatchReadiness([&](const absl::Status& ready) {
    (*server)->SetServing(ready.ok(), std::string(ready.message()));
    exporter->SetReady(ready.ok());
    systemd.SetReady(ready);
  });
  LogInfo("serving", {{"grpc", (*server)->address()},
                      {"metrics", exporter->address()},
                      {"data_dir", config.store.data_dir}});

  ShutdownSignal().Wait();
  systemd.Stop();
  supervisor.WatchReadiness(nullptr);
  (*server)->SetServing(false);
  exporter->SetReady(false);
  clock.SleepFor(config.not_ready_delay);
  supervisor.StopWatches();
  (*server)->Stop(config.drain);
  service.Stop();
  supervisor.Shutdown();
  metrics.Detach();
  LogInfo("stopped");
  return absl::OkStatus();
}

int Main(int argc, char** argv) {
  if (argc == 2 && argv[1] == absl::string_view(kWorkerArgument)) {
    return RunWorkerProcess(ChildProcess::kPassedFd);
  }
  const ServiceArgs args = StartServiceMain(
      argc, argv, "capture", "Samples RTSP cameras and sends what they show.",
      {{.name = "probe",
        .value = "-",
        .help = "try the camera whose URL is on standard input, step by\n"
                "step, and exit: 0 all is well, 1 a step failed",
        .command = true},
       HealthOption()});
  if (args.done) return args.exit_code;
  const auto config = LoadCaptureConfig(args.config, args.data_dir);
  if (!config.ok()) {
    LogError("bad configuration", {{"status", config.status()}});
    return 2;
  }
  if (args.check_config) {
    std::puts("configuration ok");
    return 0;
  }
  if (args.own.contains("health")) {
    return RunHealthCommand(config->listen, args.grpc);
  }
  if (const auto probe = args.own.find("probe"); probe != args.own.end()) {
    const auto prober = MakeProber(*config, Clock::Real());
    if (!prober.ok()) {
      LogError("bad configuration", {{"status", prober.status()}});
      return 2;
    }
    return RunProbeCommand(probe->second, **prober, stdin, stdout, stderr);
  }
  LogInfo("configuration",
          {{"capture", absl::StrJoin(config->effective, " ")}});
  if (absl::Status status = Run(*config, args); !status.ok()) {
    LogError("start failed", {{"status", status}});
    return 1;
  }
  return 0;
}

}  // namespace
}  // namespace camherd::capture

int main(int argc, char** argv) { return camherd::capture::Main(argc, argv); }
