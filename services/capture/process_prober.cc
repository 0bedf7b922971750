// SPDX-License-Identifier: Apache-2.0
#include "services/capture/process_prober.h"

#include <poll.h>

#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "services/capture/worker_event.h"
#include "services/capture/worker_socket.h"
#include "services/common/status_macros.h"

namespace camherd::capture {
namespace {

// Beyond what a probe may take: starting the process.
constexpr absl::Duration kSlack = absl::Seconds(10);
// How often the caller is asked whether it is still there.
constexpr int kPollMilliseconds = 100;

v1::ProbeCamera ToProto(const ProbeTarget& target,
                        const SourceProbe::Options& options) {
  v1::ProbeCamera probe;
  probe.set_url(target.url.Full());
  probe.set_transport(target.transport);
  probe.set_tls_verify(target.tls_verify);
  probe.set_connect_timeout_seconds(
      absl::ToDoubleSeconds(options.connect_timeout));
  probe.set_pictures_timeout_seconds(
      absl::ToDoubleSeconds(options.pictures_timeout));
  probe.set_stall_timeout_seconds(absl::ToDoubleSeconds(options.stall_timeout));
  probe.set_interval_seconds(absl::ToDoubleSeconds(options.interval));
  const ConditionJudge::Options& condition = options.condition;
  probe.set_dark_below(condition.dark_below);
  probe.set_clipped_above(condition.clipped_above);
  probe.set_contrast_below(condition.contrast_below);
  probe.set_sharpness_below(condition.sharpness_below);
  return probe;
}

}  // namespace

absl::Status ProcessProber::Probe(const ProbeTarget& target,
                                  const StepSink& on_step,
                                  const std::function<bool()>& cancelled) {
  CAMHERD_ASSIGN_OR_RETURN(const std::unique_ptr<WorkerChild> child,
                           WorkerChild::Start(program_));
  v1::ToWorker message;
  *message.mutable_probe() = ToProto(target, options_);
  // A process that has gone is seen when it is listened to.
  SendToWorkerSocket(child->socket(), message, /*wait=*/false).IgnoreError();

  const absl::Duration deadline = clock_.SteadyNow() +
                                  3 * options_.connect_timeout +
                                  options_.pictures_timeout + kSlack;
  while (true) {
    if (cancelled()) return absl::CancelledError("the probe was cancelled");
    if (clock_.SteadyNow() >= deadline) {
      return absl::DeadlineExceededError("the probe's process hangs");
    }
    pollfd readable = {child->socket(), POLLIN, 0};
    poll(&readable, 1, kPollMilliseconds);
    v1::FromWorker answer;
    const absl::StatusOr<bool> more =
        ReceiveFromWorkerSocket(child->socket(), answer, /*wait=*/false);
    if (absl::IsNotFound(more.status())) continue;
    CAMHERD_RETURN_IF_ERROR(more.status());
    if (!*more) {
      return absl::InternalError(absl::StrCat(
          "the probe's process ended while at work on the camera: ",
          child->Kill()));
    }
    CAMHERD_RETURN_IF_ERROR(CheckWorkerEvent(answer));
    if (answer.has_probe_step()) {
      on_step(std::move(*answer.mutable_probe_step()));
    } else if (answer.has_probe_ended()) {
      return {static_cast<absl::StatusCode>(answer.probe_ended().code()),
              answer.probe_ended().message()};
    }
  }
}

}  // namespace camherd::capture
