// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <utility>

#include "services/capture/stream_supervisor.h"
#include "services/capture/stream_worker.h"

namespace camherd::capture {

// A stream worker as a thread group of this process.
class InProcessWorker : public WorkerLink {
 public:
  explicit InProcessWorker(std::unique_ptr<StreamWorker> worker)
      : worker_(std::move(worker)) {}

  void Send(const v1::ToWorker& message) override { worker_->Handle(message); }
  void Stop() override { worker_->Stop(); }

 private:
  const std::unique_ptr<StreamWorker> worker_;
};

}  // namespace camherd::capture
