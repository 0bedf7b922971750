// SPDX-License-Identifier: Apache-2.0
#include "services/capture/worker_process.h"

#include <signal.h>

#include <cstdio>
#include <utility>

#include "absl/synchronization/mutex.h"
#include "services/capture/libav_connection.h"
#include "services/capture/libav_packet_source.h"
#include "services/capture/source_probe.h"
#include "services/capture/task_scope.h"
#include "services/capture/worker_socket.h"
#include "services/common/log.h"
#include "services/common/service_main.h"
#include "services/common/status_macros.h"

namespace camherd::capture {
namespace {

constexpr int kBadSupervisor = 2;

AddressPolicy PolicyOf(const v1::WorkerConfig& config) {
  absl::StatusOr<AddressPolicy> policy =
      AddressPolicy::Create({.allow_networks = {config.allow_networks().begin(),
                                                config.allow_networks().end()},
                             .allow_loopback = config.allow_loopback()});
  if (!policy.ok()) LogFatal("bad networks", {{"status", policy.status()}});
  return *std::move(policy);
}

absl::StatusOr<ProbeTarget> TargetOf(const v1::ProbeCamera& probe) {
  CAMHERD_ASSIGN_OR_RETURN(CameraUrl url, CameraUrl::Parse(probe.url()));
  return ProbeTarget{.url = std::move(url),
                     .transport = probe.transport(),
                     .tls_verify = probe.tls_verify()};
}

SourceProbe::Options OptionsOf(const v1::ProbeCamera& probe,
                               const std::string& tls_ca_file) {
  SourceProbe::Options options;
  options.connect_timeout = absl::Seconds(probe.connect_timeout_seconds());
  options.pictures_timeout = absl::Seconds(probe.pictures_timeout_seconds());
  options.stall_timeout = absl::Seconds(probe.stall_timeout_seconds());
  options.interval = absl::Seconds(probe.interval_seconds());
  options.tls_ca_file = tls_ca_file;
  options.condition.dark_below = probe.dark_below();
  options.condition.clipped_above = probe.clipped_above();
  options.condition.contrast_below = probe.contrast_below();
  options.condition.sharpness_below = probe.sharpness_below();
  return options;
}

// Tells each step and the end to the supervisor, which kills the process where
// nobody waits for it any more.
void Probe(const v1::ProbeCamera& probe, const v1::WorkerConfig& config,
           const PacketSourceFactory& sources, int fd) {
  v1::FromWorker answer;
  const absl::StatusOr<ProbeTarget> target = TargetOf(probe);
  absl::Status status = target.status();
  if (status.ok()) {
    SourceProbe prober(OptionsOf(probe, config.tls_ca_file()), PolicyOf(config),
                       MakeLibavConnections(Clock::Real()), sources,
                       Clock::Real());
    status = prober.Probe(
        *target,
        [&](v1::ProbeSourceResponse step) {
          *answer.mutable_probe_step() = std::move(step);
          SendToWorkerSocket(fd, answer, /*wait=*/true).IgnoreError();
        },
        [] { return false; });
  }
  answer.mutable_probe_ended()->set_code(static_cast<int>(status.code()));
  answer.mutable_probe_ended()->set_message(std::string(status.message()));
  SendToWorkerSocket(fd, answer, /*wait=*/true).IgnoreError();
}

}  // namespace

void ToProto(const StreamWorker::Options& options, v1::WorkerConfig& config) {
  config.set_decode_threads(options.decode_threads);
  config.set_jpeg_quality(options.jpeg_quality);
  config.set_retry_initial_seconds(
      absl::ToDoubleSeconds(options.retry_initial));
  config.set_retry_soon_max_seconds(
      absl::ToDoubleSeconds(options.retry_soon_max));
  config.set_retry_max_seconds(absl::ToDoubleSeconds(options.retry_max));
  config.set_retry_slow_seconds(absl::ToDoubleSeconds(options.retry_slow));
  config.set_healthy_after_seconds(
      absl::ToDoubleSeconds(options.healthy_after));
  config.set_connect_timeout_seconds(
      absl::ToDoubleSeconds(options.connect_timeout));
  config.set_stall_timeout_seconds(
      absl::ToDoubleSeconds(options.stall_timeout));
  config.set_gop_max_bytes(options.gop_max_bytes);
  config.set_hang_after_seconds(absl::ToDoubleSeconds(options.hang_after));
  config.set_sync_frames(options.sync_frames);
  config.set_tls_ca_file(options.tls_ca_file);
}

StreamWorker::Options FromProto(const v1::WorkerConfig& config) {
  StreamWorker::Options options;
  options.decode_threads = config.decode_threads();
  options.jpeg_quality = config.jpeg_quality();
  options.retry_initial = absl::Seconds(config.retry_initial_seconds());
  options.retry_soon_max = absl::Seconds(config.retry_soon_max_seconds());
  options.retry_max = absl::Seconds(config.retry_max_seconds());
  options.retry_slow = absl::Seconds(config.retry_slow_seconds());
  options.healthy_after = absl::Seconds(config.healthy_after_seconds());
  options.connect_timeout = absl::Seconds(config.connect_timeout_seconds());
  options.stall_timeout = absl::Seconds(config.stall_timeout_seconds());
  options.gop_max_bytes = config.gop_max_bytes();
  options.hang_after = absl::Seconds(config.hang_after_seconds());
  options.sync_frames = config.sync_frames();
  options.tls_ca_file = config.tls_ca_file();
  return options;
}

int RunWorkerProcess(
    int fd, const std::function<PacketSourceFactory(const v1::WorkerConfig&)>&
                make_sources) {
  KeepFreedMemory();
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  // The supervisor alone ends it: who stops the whole group of processes means
  // that nothing gets lost.
  for (const int signal_number : {SIGPIPE, SIGTERM, SIGINT, SIGHUP}) {
    signal(signal_number, SIG_IGN);
  }
  Clock& clock = Clock::Real();
  v1::ToWorker message;
  const absl::StatusOr<bool> first =
      ReceiveFromWorkerSocket(fd, message, /*wait=*/true);
  if (!first.ok() || !*first || !message.has_configure()) {
    std::fputs("a stream worker is started by the capture service only\n",
               stderr);
    return kBadSupervisor;
  }
  const v1::WorkerConfig config = message.configure();
  InitLog("capture-worker", LogLevel::kInfo,
          config.log_format() == "json" ? LogFormat::kJson : LogFormat::kText);
  if (absl::Status status = SetLogLevel(config.log_level()); !status.ok()) {
    LogWarning("bad log level", {{"status", status}});
  }
  TaskScope::ReportCrashes(fd);
  const PacketSourceFactory sources =
      make_sources ? make_sources(config)
                   : MakeLibavPacketSources(PolicyOf(config), clock);
  int exit_code = 0;
  {
    StreamWorker worker(
        FromProto(config), sources,
        [&](const v1::FromWorker& event) {
          // Blocks while the supervisor is busy: that is the back-pressure.
          const TaskScope::Pause pause(clock);
          // Without a supervisor there is nobody to tell; the end is near.
          SendToWorkerSocket(fd, event, /*wait=*/true).IgnoreError();
        },
        clock);
    while (true) {
      const absl::StatusOr<bool> more =
          ReceiveFromWorkerSocket(fd, message, /*wait=*/true);
      if (!more.ok()) {
        LogError("bad message from the supervisor",
                 {{"status", more.status()}});
        exit_code = kBadSupervisor;
        break;
      }
      if (!*more) break;
      if (message.has_ping()) {
        v1::FromWorker answer;
        v1::Pong& pong = *answer.mutable_pong();
        for (const std::string& id : TaskScope::Overdue(clock)) {
          pong.add_hanging_stream_ids(id);
        }
        SendToWorkerSocket(fd, answer, /*wait=*/true).IgnoreError();
      } else if (message.has_probe()) {
        Probe(message.probe(), config, sources, fd);
      } else {
        worker.Handle(message);
      }
    }
    worker.Stop();
  }
  return exit_code;
}

}  // namespace camherd::capture
