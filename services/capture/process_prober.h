// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <utility>

#include "absl/status/status.h"
#include "services/capture/source_probe.h"
#include "services/capture/source_prober.h"
#include "services/capture/worker_child.h"
#include "services/common/clock.h"

namespace camherd::capture {

// SourceProbe in a process of its own (RunWorkerProcess), one for each probe,
// since what is tried is what nobody has tried before. A process that ends, or
// takes longer than a probe may, costs that probe alone: kInternal,
// kDeadlineExceeded.
//
// Thread-safe. Call from threads that outlive the probe (see ChildProcess).
class ProcessProber final : public SourceProber {
 public:
  // `clock` must outlive it.
  ProcessProber(WorkerProgram program, SourceProbe::Options options,
                Clock& clock)
      : program_(std::move(program)),
        options_(std::move(options)),
        clock_(clock) {}

  absl::Status Probe(const ProbeTarget& target, const StepSink& on_step,
                     const std::function<bool()>& cancelled) override;

 private:
  const WorkerProgram program_;
  const SourceProbe::Options options_;
  Clock& clock_;
};

}  // namespace camherd::capture
