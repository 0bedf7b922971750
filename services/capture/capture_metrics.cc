// SPDX-License-Identifier: Apache-2.0
#include "services/capture/capture_metrics.h"

#include <prometheus/collectable.h>
#include <prometheus/counter.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <algorithm>
#include <array>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/synchronization/mutex.h"
#include "services/capture/stream_supervisor.h"
#include "services/common/log.h"

namespace camherd::capture {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;

constexpr const char* kMethods[] = {
    "StartStream",  "StopStream",   "GetStream",      "ListStreams",
    "UpdateStream", "DeleteStream", "GetLatestFrame", "GetGrid"};
constexpr const char* kMissed[] = {
    "not_connected", "late",         "decode_error", "corrupt",
    "no_keyframe",   "spool_full",   "disk_error",   "disk_full",
    "overload",      "service_down", "worker_lost",  "camera_unknown"};
constexpr const char* kDropped[] = {"quota",    "max_age",   "model_error",
                                    "conflict", "file_lost", "deleted"};
constexpr const char* kWorkersLost[] = {"crashed", "hung", "killed", "exited",
                                        "not_started"};
constexpr const char* kRefused[] = {"max_streams", "cpu", "memory",
                                    "missed_samples"};
constexpr int kCodes = 17;

std::string StateLabel(int state) {
  std::string name = v1::StreamState_Name(static_cast<v1::StreamState>(state));
  return absl::AsciiStrToLower(name.substr(sizeof("STREAM_STATE_") - 1));
}

std::string ConditionLabel(int condition) {
  if (condition == v1::CAMERA_CONDITION_UNSPECIFIED) return "unknown";
  std::string name =
      v1::CameraCondition_Name(static_cast<v1::CameraCondition>(condition));
  return absl::AsciiStrToLower(name.substr(sizeof("CAMERA_CONDITION_") - 1));
}

ClientMetric Value(MetricType type, double value, const char* label = nullptr,
                   const std::string& label_value = "") {
  ClientMetric metric;
  if (label != nullptr) metric.label = {{label, label_value}};
  if (type == MetricType::Counter) {
    metric.counter.value = value;
  } else {
    metric.gauge.value = value;
  }
  return metric;
}

MetricFamily Family(const char* name, const char* help, MetricType type) {
  MetricFamily family;
  family.name = name;
  family.help = help;
  family.type = type;
  return family;
}

// Turns a snapshot of the supervisor into families.
class Collector : public prometheus::Collectable {
 public:
  explicit Collector(bool per_camera) : per_camera_(per_camera) {}

  void SetSupervisor(StreamSupervisor* supervisor) {
    absl::MutexLock lock(&mu_);
    supervisor_ = supervisor;
  }

  std::vector<MetricFamily> Collect() const override {
    absl::MutexLock lock(&mu_);
    if (supervisor_ == nullptr) return {};
    const auto snapshot = supervisor_->Snapshot();
    if (!snapshot.ok()) {
      LogError("no snapshot for metrics", {{"status", snapshot.status()}});
      return {};
    }
    std::vector<MetricFamily> families;
    const auto add = [&](const char* name, const char* help, MetricType type,
                         double value) {
      families.push_back(Family(name, help, type));
      families.back().metric.push_back(Value(type, value));
    };
    const v1::Accounting& total = snapshot->total;
    add("camherd_capture_frames_due_total", "Samples that fell due.",
        MetricType::Counter, total.due());
    add("camherd_capture_frames_captured_total",
        "Pictures committed to the spool.", MetricType::Counter,
        total.captured());
    families.push_back(Reasons("camherd_capture_frames_missed_total",
                               "Due samples without a picture.", total.missed(),
                               kMissed));
    add("camherd_capture_frames_recorded_total",
        "Frames whose batch is recorded.", MetricType::Counter,
        total.recorded());
    families.push_back(Reasons("camherd_capture_frames_dropped_total",
                               "Captured frames given up.", total.dropped(),
                               kDropped));
    add("camherd_capture_frames_spooled", "Frames in the spool.",
        MetricType::Gauge, total.spooled());
    add("camherd_capture_frames_ranked_only_total",
        "Frames that no model is given.", MetricType::Counter,
        total.ranked_only());
    add("camherd_capture_batches_pending",
        "Sealed batches that are not recorded yet.", MetricType::Gauge,
        snapshot->batches_pending);
    add("camherd_capture_spool_bytes", "Bytes of the frames in the spool.",
        MetricType::Gauge, snapshot->spool_bytes);
    add("camherd_capture_spool_limit_bytes",
        "Bytes past which the oldest batches are dropped.", MetricType::Gauge,
        snapshot->spool_limit_bytes);
    add("camherd_capture_widened_streams",
        "Streams that sample less often since the spool fills.",
        MetricType::Gauge, snapshot->widened_streams);
    add("camherd_capture_disk_free_bytes",
        "Free bytes of the spool's file system; -1: not known.",
        MetricType::Gauge, snapshot->disk_free_bytes);
    add("camherd_capture_received_bytes_total",
        "Bytes received from cameras since the start.", MetricType::Counter,
        snapshot->received_bytes);

    add("camherd_capture_connects_waiting",
        "Streams that wait for their turn to connect, or for a session.",
        MetricType::Gauge, snapshot->connects_waiting);

    const StreamAdmission::Stats& admission = snapshot->admission;
    add("camherd_capture_cpu_cores",
        "Cores that the service and its workers used of late.",
        MetricType::Gauge, admission.cpu_cores);
    add("camherd_capture_cpu_cores_limit",
        "Cores that its streams may need, or a start is refused.",
        MetricType::Gauge, admission.cpu_cores_limit);
    MetricFamily refused =
        Family("camherd_capture_streams_refused_total",
               "Starts that the box could not carry.", MetricType::Counter);
    for (const char* reason : kRefused) {
      const auto it = admission.refused.find(reason);
      refused.metric.push_back(Value(
          MetricType::Counter, it == admission.refused.end() ? 0 : it->second,
          "reason", reason));
    }
    families.push_back(std::move(refused));
    add("camherd_capture_camera_data_age_seconds",
        "Since the aggregator told of its cameras last; -1: not yet.",
        MetricType::Gauge,
        snapshot->camera_data_age.has_value()
            ? absl::ToDoubleSeconds(*snapshot->camera_data_age)
            : -1);

    const WorkerStats& workers = snapshot->workers;
    add("camherd_capture_workers", "Worker processes that run.",
        MetricType::Gauge, workers.processes);
    add("camherd_capture_quarantined_streams",
        "Streams with a worker process of their own, since they made one end.",
        MetricType::Gauge, workers.quarantined);
    MetricFamily lost =
        Family("camherd_capture_workers_lost_total",
               "Worker processes that ended unasked.", MetricType::Counter);
    for (const char* reason : kWorkersLost) {
      const auto it = workers.lost.find(reason);
      lost.metric.push_back(Value(MetricType::Counter,
                                  it == workers.lost.end() ? 0 : it->second,
                                  "reason", reason));
    }
    families.push_back(std::move(lost));

    MetricFamily streams =
        Family("camherd_capture_streams", "Streams by state, history included.",
               MetricType::Gauge);
    for (int state = v1::STREAM_STATE_STARTING; state <= v1::StreamState_MAX;
         ++state) {
      const auto it =
          snapshot->streams.find(static_cast<v1::StreamState>(state));
      streams.metric.push_back(Value(
          MetricType::Gauge, it == snapshot->streams.end() ? 0 : it->second,
          "state", StateLabel(state)));
    }
    families.push_back(std::move(streams));

    MetricFamily conditions =
        Family("camherd_capture_cameras",
               "Streams that should run, by what their pictures look like.",
               MetricType::Gauge);
    for (int condition = v1::CAMERA_CONDITION_UNSPECIFIED;
         condition <= v1::CameraCondition_MAX; ++condition) {
      const auto it = snapshot->conditions.find(
          static_cast<v1::CameraCondition>(condition));
      conditions.metric.push_back(Value(
          MetricType::Gauge, it == snapshot->conditions.end() ? 0 : it->second,
          "condition", ConditionLabel(condition)));
    }
    families.push_back(std::move(conditions));

    if (per_camera_) AddCameras(snapshot->cameras, families);
    return families;
  }

 private:
  // A stream that should run has the same series from its start to its stop, so
  // that their number is known: seven, and one more from the first frame on.
  static void AddCameras(const std::vector<CaptureSnapshot::Camera>& cameras,
                         std::vector<MetricFamily>& families) {
    MetricFamily running = Family("camherd_capture_camera_running",
                                  "1: the camera delivers.", MetricType::Gauge);
    MetricFamily interval =
        Family("camherd_capture_camera_interval_seconds",
               "Time between samples, as it is now.", MetricType::Gauge);
    MetricFamily last =
        Family("camherd_capture_last_frame_timestamp_seconds",
               "Receipt of the newest frame, Unix time.", MetricType::Gauge);
    MetricFamily frames = Family(
        "camherd_capture_camera_frames_total",
        "Samples of the session, by what became of them.", MetricType::Counter);
    for (const CaptureSnapshot::Camera& camera : cameras) {
      const auto value = [&camera](MetricType type, double number) {
        return Value(type, number, "camera_id", camera.camera_id);
      };
      running.metric.push_back(
          value(MetricType::Gauge, camera.running ? 1 : 0));
      interval.metric.push_back(
          value(MetricType::Gauge, absl::ToDoubleSeconds(camera.interval)));
      if (camera.last_frame_at != absl::InfinitePast()) {
        last.metric.push_back(value(
            MetricType::Gauge,
            absl::ToDoubleSeconds(camera.last_frame_at - absl::UnixEpoch())));
      }
      const v1::Accounting& a = camera.accounting;
      const std::pair<const char*, int64_t> outcomes[] = {
          {"due", a.due()},
          {"captured", a.captured()},
          {"missed", Sum(a.missed())},
          {"recorded", a.recorded()},
          {"dropped", Sum(a.dropped())}};
      for (const auto& [outcome, count] : outcomes) {
        frames.metric.push_back(
            value(MetricType::Counter, static_cast<double>(count)));
        frames.metric.back().label.push_back({"outcome", outcome});
      }
    }
    for (MetricFamily* family : {&running, &interval, &last, &frames}) {
      families.push_back(std::move(*family));
    }
  }

  static int64_t Sum(
      const google::protobuf::Map<std::string, int64_t>& counts) {
    int64_t sum = 0;
    for (const auto& [reason, count] : counts) sum += count;
    return sum;
  }

  template <size_t N>
  static MetricFamily Reasons(
      const char* name, const char* help,
      const google::protobuf::Map<std::string, int64_t>& counts,
      const char* const (&reasons)[N]) {
    MetricFamily family = Family(name, help, MetricType::Counter);
    for (const char* reason : reasons) {
      const auto it = counts.find(reason);
      family.metric.push_back(Value(MetricType::Counter,
                                    it == counts.end() ? 0 : it->second,
                                    "reason", reason));
    }
    return family;
  }

  const bool per_camera_;
  // Held through a scrape, so that Detach waits for it.
  mutable absl::Mutex mu_;
  StreamSupervisor* supervisor_ ABSL_GUARDED_BY(mu_) = nullptr;
};

std::string CodeLabel(int code) {
  return absl::StatusCodeToString(static_cast<absl::StatusCode>(code));
}

}  // namespace

class CaptureMetrics::Impl {
 public:
  Impl(MetricsExporter& exporter, bool per_camera)
      : collector(std::make_shared<Collector>(per_camera)) {
    prometheus::Registry& registry = *exporter.registry();
    const prometheus::Histogram::BucketBoundaries seconds = {
        0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60};
    send_seconds = &prometheus::BuildHistogram()
                        .Name("camherd_capture_batch_send_seconds")
                        .Help("From loading a batch to the answer.")
                        .Register(registry)
                        .Add({}, seconds);
    const prometheus::Histogram::BucketBoundaries cpu = {
        0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1};
    decode_seconds = &prometheus::BuildHistogram()
                          .Name("camherd_capture_sample_decode_seconds")
                          .Help("CPU time of decoding for one sample.")
                          .Register(registry)
                          .Add({}, cpu);
    encode_seconds = &prometheus::BuildHistogram()
                          .Name("camherd_capture_sample_encode_seconds")
                          .Help("CPU time of encoding one sample.")
                          .Register(registry)
                          .Add({}, cpu);
    lateness_seconds =
        &prometheus::BuildHistogram()
             .Name("camherd_capture_sampling_lateness_seconds")
             .Help("From a sample's due time to the receipt of its picture.")
             .Register(registry)
             .Add({}, seconds);
    auto& batch_answers = prometheus::BuildCounter()
                              .Name("camherd_capture_batch_answers_total")
                              .Help("Answers of InferBatch.")
                              .Register(registry);
    auto& rpc_answers = prometheus::BuildCounter()
                            .Name("camherd_capture_rpcs_total")
                            .Help("Answers of the capture service.")
                            .Register(registry);
    for (int code = 0; code < kCodes; ++code) {
      answers[code] = &batch_answers.Add({{"code", CodeLabel(code)}});
      for (const char* method : kMethods) {
        rpcs[method][code] =
            &rpc_answers.Add({{"method", method}, {"code", CodeLabel(code)}});
      }
    }
    exporter.AddCollectable(collector);
  }

  // shared_ptr: the exporter holds its collectables weakly.
  const std::shared_ptr<Collector> collector;
  prometheus::Histogram* send_seconds;
  prometheus::Histogram* decode_seconds;
  prometheus::Histogram* encode_seconds;
  prometheus::Histogram* lateness_seconds;
  std::array<prometheus::Counter*, kCodes> answers;
  std::map<std::string, std::array<prometheus::Counter*, kCodes>> rpcs;
};

CaptureMetrics::CaptureMetrics(MetricsExporter& exporter, bool per_camera)
    : impl_(std::make_unique<Impl>(exporter, per_camera)) {}

CaptureMetrics::~CaptureMetrics() { Detach(); }

void CaptureMetrics::Attach(StreamSupervisor& supervisor) {
  impl_->collector->SetSupervisor(&supervisor);
}

void CaptureMetrics::Detach() { impl_->collector->SetSupervisor(nullptr); }

void CaptureMetrics::BatchAnswered(absl::StatusCode code,
                                   absl::Duration latency) {
  impl_->send_seconds->Observe(absl::ToDoubleSeconds(latency));
  const int index = static_cast<int>(code);
  if (index >= 0 && index < kCodes) impl_->answers[index]->Increment();
}

void CaptureMetrics::RpcAnswered(absl::string_view method,
                                 absl::StatusCode code) {
  const auto it = impl_->rpcs.find(std::string(method));
  const int index = static_cast<int>(code);
  if (it != impl_->rpcs.end() && index >= 0 && index < kCodes) {
    it->second[index]->Increment();
  }
}

void CaptureMetrics::SampleTaken(const v1::SampleTaken& sample) {
  impl_->decode_seconds->Observe(sample.decode_seconds());
  impl_->encode_seconds->Observe(sample.encode_seconds());
  // In mode exact the picture shown at the due time was received before it.
  impl_->lateness_seconds->Observe(
      std::max(sample.frame().offset_seconds(), 0.0));
}

}  // namespace camherd::capture
