// SPDX-License-Identifier: Apache-2.0
#include "services/capture/capture_config.h"

#include <unistd.h>

#include <algorithm>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "services/capture/address_policy.h"
#include "services/capture/process_usage.h"
#include "services/capture/stream_request.h"
#include "services/capture/stream_worker.h"
#include "services/capture/worker_process.h"
#include "services/common/camera_url.h"
#include "services/common/status_macros.h"

namespace camherd::capture {
namespace {

constexpr double kDay = 86400;
// Someone waits for a probe: it gives up earlier than a stream.
constexpr absl::Duration kProbeConnect = absl::Seconds(10);

std::string HostName() {
  char name[256] = {};
  if (gethostname(name, sizeof(name) - 1) != 0 || !IsValidId(name)) {
    return "localhost";
  }
  return name;
}

int Cores() {
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

bool IsLoopback(absl::string_view listen) {
  absl::string_view host = listen.substr(0, listen.rfind(':'));
  return host == "localhost" || host == "[::1]" || host == "::1" ||
         absl::StartsWith(host, "127.");
}

}  // namespace

absl::StatusOr<CaptureConfig> LoadCaptureConfig(const YamlConfig& config,
                                                const std::string& data_dir) {
  CaptureConfig out;
  ConfigSection section = config.Section("capture");
  out.listen = section.String("listen", "127.0.0.1:50051");
  out.metrics_listen = section.String("metrics_listen", "127.0.0.1:50061");
  out.reflection = section.Bool("reflection", true);
  out.inference = section.String("inference", "127.0.0.1:50052");
  out.aggregator = section.String("aggregator", "127.0.0.1:50053");

  StreamSupervisor::Options& supervisor = out.supervisor;
  const std::string node_id = section.String("node_id", "");
  if (!node_id.empty() && !IsValidId(node_id)) {
    section.Fail("node_id",
                 "must be empty or match [A-Za-z0-9][A-Za-z0-9._-]{0,63}");
  }
  supervisor.session.node_id = node_id.empty() ? HostName() : node_id;
  supervisor.session.host_ip = section.String("host_ip", "");
  supervisor.session.data_dir = data_dir;
  supervisor.defaults.interval_seconds = section.Double(
      "interval_seconds", 3, kMinIntervalSeconds, kMaxIntervalSeconds);
  supervisor.defaults.batch_size = section.Int("batch_size", 10, 1, 64);
  StreamAdmission::Options& admission = supervisor.admission;
  admission.max_streams = section.Int("max_streams", 1000, 1, 100000);
  admission.enabled =
      section.Choice("admission", "auto", {"auto", "off"}) == "auto";
  admission.max_cpu_share = section.Double("max_cpu_share", 0.8, 0.001, 1);
  admission.cores = UsableCores();
  supervisor.history_streams = section.Int("history_streams", 1000, 0, 100000);

  const bool sync =
      section.Choice("fsync", "batch", {"none", "batch"}) == "batch";
  out.store.data_dir = data_dir;
  out.store.sync = sync;
  supervisor.session.sync = sync;

  StreamWorker::Options worker;
  ProcessWorkers::Options& workers = out.workers;
  workers.processes = section.Int("worker_processes", 0, 0, 256);
  if (workers.processes == 0) workers.processes = Cores();
  workers.worker.memory_bytes =
      section.Bytes("worker_memory_bytes", int64_t{2} << 30, int64_t{256} << 20,
                    int64_t{1} << 50);
  admission.max_memory_bytes =
      UsableMemory() / workers.processes < workers.worker.memory_bytes
          ? UsableMemory()
          : workers.worker.memory_bytes * workers.processes;
  workers.answer_timeout =
      section.Seconds("worker_answer_timeout_seconds", 10, 1, 3600);
  worker.hang_after = section.Seconds("worker_hang_seconds", 60, 1, 3600);
  workers.quarantine = section.Seconds("quarantine_seconds", 600, 1, kDay);
  int decode_threads = section.Int("decode_threads", 0, 0, 256);
  if (decode_threads == 0) decode_threads = Cores();
  // Of each process, its share.
  worker.decode_threads =
      (decode_threads + workers.processes - 1) / workers.processes;
  worker.jpeg_quality = section.Int("jpeg_quality", 85, 1, 100);
  worker.retry_initial =
      section.Seconds("retry_initial_seconds", 1, 0.001, kDay);
  worker.retry_soon_max =
      section.Seconds("retry_soon_max_seconds", 5, 0.001, kDay);
  worker.retry_max = section.Seconds("retry_max_seconds", 60, 0.001, kDay);
  worker.retry_slow = section.Seconds("retry_slow_seconds", 60, 0.001, kDay);
  worker.healthy_after =
      section.Seconds("healthy_after_seconds", 60, 0.001, kDay);
  worker.connect_timeout =
      section.Seconds("connect_timeout_seconds", 30, 0.1, 3600);
  worker.stall_timeout =
      section.Seconds("stall_timeout_seconds", 10, 0.1, 3600);
  worker.gop_max_bytes = section.Bytes("gop_max_bytes", int64_t{32} << 20,
                                       int64_t{64} << 10, int64_t{1} << 30);
  worker.tls_ca_file = section.String("tls_ca_file", "");
  if (!worker.tls_ca_file.empty() &&
      access(worker.tls_ca_file.c_str(), R_OK) != 0) {
    section.Fail("tls_ca_file", "must be a file that can be read");
  }
  supervisor.connects.per_second =
      section.Double("connects_per_second", 20, 0.1, 10000);
  supervisor.connects.per_second_per_host =
      section.Double("connects_per_second_per_host", 2, 0.1, 10000);
  supervisor.connects.sessions_per_host =
      section.Int("sessions_per_host", 0, 0, 100000);

  supervisor.cameras.refresh =
      section.Seconds("camera_refresh_seconds", 5, 0.1, 3600);

  supervisor.spool.stream_max_bytes =
      section.Bytes("spool_stream_max_bytes", int64_t{1} << 30,
                    int64_t{1} << 10, int64_t{1} << 50);
  supervisor.spool.total_max_bytes =
      section.Bytes("spool_total_max_bytes", int64_t{16} << 30,
                    int64_t{1} << 10, int64_t{1} << 50);
  supervisor.spool_max_age =
      section.Seconds("spool_max_age_seconds", kDay, 0.1, 366 * kDay);
  supervisor.spool.widen_above = section.Double("spool_widen_above", 0.5, 0, 1);
  supervisor.spool.low_disk_bytes =
      section.Bytes("low_disk_bytes", int64_t{512} << 20, 0, int64_t{1} << 50);
  supervisor.spool.full_disk_bytes =
      section.Bytes("full_disk_bytes", int64_t{128} << 20, 0, int64_t{1} << 50);
  if (supervisor.spool.full_disk_bytes > supervisor.spool.low_disk_bytes) {
    section.Fail("full_disk_bytes",
                 absl::StrCat("must be at most low_disk_bytes, got ",
                              supervisor.spool.full_disk_bytes, " and ",
                              supervisor.spool.low_disk_bytes));
  }

  ConditionJudge::Options& condition = supervisor.session.condition;
  condition.dark_below = section.Double("condition_dark_below", 16, 0, 255);
  condition.clipped_above =
      section.Double("condition_clipped_above", 0.6, 0, 1);
  condition.contrast_below =
      section.Double("condition_contrast_below", 5, 0, 128);
  condition.sharpness_below =
      section.Double("condition_sharpness_below", 1.5, 0, 1e6);
  condition.frozen_samples =
      section.Int("condition_frozen_samples", 10, 2, 1000000);
  condition.samples = section.Int("condition_samples", 3, 1, 1000);

  SourceProbe::Options& probe = out.probe;
  probe.connect_timeout = std::min(worker.connect_timeout, kProbeConnect);
  probe.pictures_timeout = section.Seconds("probe_pictures_seconds", 20, 1, 60);
  probe.stall_timeout = worker.stall_timeout;
  probe.tls_ca_file = worker.tls_ca_file;
  probe.interval = absl::Seconds(supervisor.defaults.interval_seconds);
  probe.condition = condition;
  out.max_probes = section.Int("max_probes", 4, 1, 64);

  BatchSender::Options& sender = supervisor.sender;
  sender.concurrency = section.Int("send_concurrency", 4, 1, 256);
  sender.timeout = section.Seconds("send_timeout_seconds", 60, 0.1, 3600);
  sender.queue.backoff.initial =
      section.Seconds("send_retry_initial_seconds", 1, 0.001, 3600);
  sender.queue.backoff.max =
      section.Seconds("send_retry_max_seconds", 30, 0.001, 3600);
  sender.queue.slow_retry =
      section.Seconds("send_retry_slow_seconds", 60, 0.001, kDay);
  supervisor.prepare_timeout =
      section.Seconds("prepare_timeout_seconds", 5, 0.1, 60);

  out.allow_networks = section.List("allow_networks", {});
  if (const auto policy =
          AddressPolicy::Create({.allow_networks = out.allow_networks});
      !policy.ok()) {
    section.Fail("allow_networks", policy.status().message());
  }
  out.not_ready_delay = section.Seconds("not_ready_delay_seconds", 0, 0, 60);
  out.drain = section.Seconds("drain_seconds", 3, 0, 60);
  out.per_camera_metrics = section.Bool("per_camera_metrics", true);
  CAMHERD_RETURN_IF_ERROR(section.Finish());
  out.effective = section.effective();

  // These sections are checked elsewhere.
  ConfigSection common = config.Section("common");
  workers.worker.config.set_log_level(common.String("log_level", "info"));
  workers.worker.config.set_log_format(common.String("log_format", "text"));
  ConfigSection gateway = config.Section("gateway");
  for (const std::string& listen :
       gateway.List("listen", {"localhost:5000", "localhost:8000"})) {
    out.allow_loopback = out.allow_loopback && IsLoopback(listen);
  }
  ToProto(worker, workers.worker.config);
  *workers.worker.config.mutable_allow_networks() = {out.allow_networks.begin(),
                                                     out.allow_networks.end()};
  workers.worker.config.set_allow_loopback(out.allow_loopback);
  return out;
}

}  // namespace camherd::capture
