// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "camherd/v1/worker.pb.h"
#include "services/capture/batch_sender.h"
#include "services/common/metrics_exporter.h"

namespace camherd::capture {

class StreamSupervisor;

// Metrics of the capture service, camherd_capture_*. What is counted per frame
// comes from one snapshot of the store at each scrape, so that the identities
// of Accounting hold in what Prometheus reads; the rest is counted here.
//
// Thread-safe.
class CaptureMetrics : public SendObserver {
 public:
  // `exporter` must outlive it. `per_camera`: also the series that carry a
  // camera_id.
  CaptureMetrics(MetricsExporter& exporter, bool per_camera);
  ~CaptureMetrics() override;

  // From now on scrapes ask `supervisor`, until Detach.
  void Attach(StreamSupervisor& supervisor);
  void Detach();

  void BatchAnswered(absl::StatusCode code, absl::Duration latency) override;
  void RpcAnswered(absl::string_view method, absl::StatusCode code);
  void SampleTaken(const v1::SampleTaken& sample);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace camherd::capture
