// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <iostream>
#include <memory>
#include <opencv2/core/utility.hpp>
#include <string>
#include <utility>

#include "absl/strings/str_join.h"
#include "services/aggregator/aggregator_config.h"
#include "services/aggregator/aggregator_metrics.h"
#include "services/aggregator/aggregator_service.h"
#include "services/aggregator/batch_recorder.h"
#include "services/aggregator/camera_directory.h"
#include "services/aggregator/data_layout.h"
#include "services/aggregator/disk_watch.h"
#include "services/aggregator/export_command.h"
#include "services/aggregator/grid_archive.h"
#include "services/aggregator/import_command.h"
#include "services/aggregator/predictions_file.h"
#include "services/aggregator/retention.h"
#include "services/aggregator/sqlite_record_store.h"
#include "services/common/audit_log.h"
#include "services/common/clock.h"
#include "services/common/file.h"
#include "services/common/folder_lock.h"
#include "services/common/grpc_health_check.h"
#include "services/common/grpc_server.h"
#include "services/common/log.h"
#include "services/common/metrics_exporter.h"
#include "services/common/service_main.h"
#include "services/common/status_macros.h"
#include "services/common/systemd_notifier.h"
#include "services/common/worker_pool.h"

namespace camherd::aggregator {
namespace {

// Serves until SIGTERM. What is made first is gone last.
absl::Status Serve(const AggregatorConfig& config, const ServiceArgs& args) {
  Clock& clock = Clock::Real();
  CAMHERD_RETURN_IF_ERROR(MakeDirs(config.data_dir));
  CAMHERD_ASSIGN_OR_RETURN(const std::unique_ptr<FolderLock> lock,
                           FolderLock::Take(LockFile(config.data_dir)));
  // Grids are rare: a file in the way is named now, not at the first of them.
  CAMHERD_RETURN_IF_ERROR(MakeDirs(ImagesDir(config.data_dir)));
  CAMHERD_ASSIGN_OR_RETURN(const std::unique_ptr<MetricsExporter> exporter,
                           MetricsExporter::Create(config.metrics_listen));
  AggregatorMetrics metrics(exporter->registry());
  DiskWatch::Options disk_options;
  disk_options.path = config.data_dir;
  disk_options.probe_file = ProbeFile(config.data_dir);
  disk_options.low_bytes = config.low_disk_bytes;
  disk_options.full_bytes = config.full_disk_bytes;
  disk_options.poll_interval = config.disk_poll;
  disk_options.retry_delay = config.retry_delay;
  disk_options.advice =
      config.retention_bytes == 0 &&
              config.retention_age == absl::InfiniteDuration()
          ? "nothing is removed by itself (retention_bytes, retention_seconds)"
          : "what retention leaves is more than the disk has beside the rest";
  DiskWatch disk(disk_options, metrics);
  SqliteRecordStore::Options store_options;
  store_options.data_dir = config.data_dir;
  store_options.group_hook = [&metrics](size_t n) {
    metrics.GroupCommitted(n);
  };
  CAMHERD_ASSIGN_OR_RETURN(const std::unique_ptr<SqliteRecordStore> store,
                           SqliteRecordStore::Create(store_options, clock));
  CAMHERD_ASSIGN_OR_RETURN(
      const std::unique_ptr<CameraDirectory> cameras,
      CameraDirectory::Create(
          {.csv_path = config.camera_csv, .poll_interval = config.csv_poll},
          *store, clock, metrics));
  cameras->StartWatching();
  std::unique_ptr<PredictionsFile> predictions;
  if (config.predictions_file) {
    PredictionsFile::Options options;
    options.path = PredictionsPath(config.data_dir);
    options.line = {.timezone = config.timezone,
                    .per_frame = config.per_frame_records};
    options.sync_interval = config.predictions_sync;
    options.retry_interval = config.predictions_retry;
    options.rotate_bytes = config.predictions_rotate_bytes;
    CAMHERD_ASSIGN_OR_RETURN(
        predictions, PredictionsFile::Create(options, *store, clock, metrics));
  }
  Retention retention({.predictions_path = PredictionsPath(config.data_dir),
                       .keep_unwritten = config.predictions_file,
                       .max_age = config.retention_age,
                       .max_bytes = config.retention_bytes,
                       .poll_interval = config.retention_poll},
                      *store, clock, metrics);
  retention.Start();
  BatchRecorder recorder({.keep_detected = config.per_frame_records,
                          .retry_delay = config.retry_delay},
                         *store, *cameras, disk, predictions.get(), clock,
                         metrics);
  GridArchive grids(config.data_dir, *store, disk, clock, metrics);
  WorkerPool calls(config.threads, config.max_queue);
  AggregatorServiceImpl service(
      {.max_batch_bytes = config.max_batch_bytes,
       .max_inflight_bytes = config.max_inflight_bytes,
       .line = {.timezone = config.timezone,
                .per_frame = config.per_frame_records},
       .retry_delay = config.retry_delay},
      recorder, *store, *cameras, grids, calls);
  AuditLog audit({.path = args.audit_file,
                  .service = "aggregator",
                  .counted = exporter->AuditCounter()},
                 clock);
  CAMHERD_ASSIGN_OR_RETURN(
      const std::unique_ptr<GrpcServer> server,
      GrpcServer::Start(
          {.listen = config.listen,
           .reflection = config.reflection,
           .security = args.grpc,
           .audit = &audit,
           .audited = {"UpsertCamera", "ImportCameras", "ImportRecords"}},
          {&service}, {v1::AggregatorService::service_full_name()}));
  if (args.grpc.tls()) {
    exporter->WatchCertificate(args.grpc.certificate_file);
  }
  const GrpcHealthCheck health(server->address(), args.grpc);
  SystemdNotifier systemd([&] {
    store->AwaitCommitter();
    return health.IsServing(kHealthTimeout).status();
  });
  disk.Start([&](const std::string& reason) {
    server->SetServing(reason.empty(), reason);
    exporter->SetReady(reason.empty());
    systemd.SetReady(reason.empty() ? absl::OkStatus()
                                    : absl::UnavailableError(reason));
  });
  LogInfo("serving",
          {{"grpc", server->address()}, {"metrics", exporter->address()}});

  ShutdownSignal().Wait();

  systemd.Stop();
  disk.Stop();
  server->SetServing(false);
  exporter->SetReady(false);
  clock.SleepFor(config.not_ready_delay);
  service.StopWatches();
  server->Stop(config.drain);
  calls.Stop();
  retention.Stop();
  if (predictions != nullptr) predictions->Stop(config.drain);
  LogInfo("stopped");
  return absl::OkStatus();
}

int Main(int argc, char** argv) {
  const absl::string_view command = argc > 1 ? argv[1] : "";
  const bool exports = command == "export";
  const bool imports = command == "import";
  ServiceArgs args =
      exports ? StartServiceMain(argc - 1, argv + 1, "aggregator export",
                                 "Writes the records to standard output, "
                                 "beside the running service too.",
                                 ExportOptions(), /*command=*/true)
      : imports
          ? StartServiceMain(argc - 1, argv + 1, "aggregator import",
                             "Adds the records of a predictions.json, each "
                             "once, through the running\n"
                             "service or without one. What cannot be used is "
                             "named by line; exit code 3.",
                             ImportOptions(), /*command=*/true)
          : StartServiceMain(
                argc, argv, "aggregator",
                "Enriches results, keeps records, writes predictions.json "
                "and grids.\n"
                "`camherd-aggregator export --help`: records as a file.\n"
                "`camherd-aggregator import --help`: a file's records.",
                {HealthOption()});
  if (args.done) return args.exit_code;
  ConfigSection section = args.config.Section("aggregator");
  const absl::StatusOr<AggregatorConfig> config =
      LoadAggregatorConfig(section, args.data_dir);
  if (!config.ok()) {
    LogError("configuration is not usable", {{"error", config.status()}});
    return 2;
  }
  if (args.check_config) {
    std::cout << "configuration ok\n";
    return 0;
  }
  if (args.own.contains("health")) {
    return RunHealthCommand(config->listen, args.grpc);
  }
  if (exports) {
    return RunExportCommand(
        args.own, config->data_dir,
        {.timezone = config->timezone, .per_frame = config->per_frame_records},
        stdout, stderr);
  }
  if (imports) {
    return RunImportCommand(args.own,
                            {.data_dir = config->data_dir,
                             .listen = config->listen,
                             .timezone = config->timezone,
                             .security = args.grpc,
                             .audit_file = args.audit_file},
                            stderr);
  }
  LogInfo("configuration",
          {{"effective", absl::StrJoin(section.effective(), " ")}});
  LogInfo("paths", {{"data", config->data_dir},
                    {"predictions", PredictionsPath(config->data_dir)},
                    {"database", DatabaseFile(config->data_dir)},
                    {"images", ImagesDir(config->data_dir)},
                    {"camera_csv", config->camera_csv}});
  cv::setNumThreads(1);
  const absl::Status served = Serve(*config, args);
  if (!served.ok()) {
    LogError("aggregator cannot run", {{"error", served}});
    return 1;
  }
  return 0;
}

}  // namespace
}  // namespace camherd::aggregator

int main(int argc, char** argv) {
  return camherd::aggregator::Main(argc, argv);
}
