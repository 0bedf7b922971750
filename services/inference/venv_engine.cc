// SPDX-License-Identifier: Apache-2.0
#include "services/inference/venv_engine.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "services/common/clock.h"
#include "services/common/file.h"
#include "services/common/log.h"
#include "services/common/status_macros.h"
#include "services/common/utf8.h"
#include "services/inference/environment.h"
#include "services/inference/jpeg_decoder.h"
#include "services/inference/nms.h"

namespace camherd::inference {
namespace {

using nlohmann::json;

constexpr int kProtocol = 1;
constexpr size_t kMaxDetections = 20000;
constexpr size_t kMaxReason = 2000;

std::string Dump(const json& message) {
  return message.dump(-1, ' ', false, json::error_handler_t::replace);
}

// The header as an object without blobs, or kDataLoss.
absl::StatusOr<json> ParseHeader(const std::string& text) {
  json message = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!message.is_object() || !message.contains("type") ||
      !message["type"].is_string() ||
      message.value("blobs", json::array()) != json::array()) {
    return absl::DataLossError("it sent what is no message");
  }
  return message;
}

// One line.
std::string StringOf(const json& message, const char* key) {
  const auto found = message.find(key);
  if (found == message.end() || !found->is_string()) return {};
  std::string text = ToUtf8(found->get<std::string>().substr(0, kMaxReason));
  std::replace_if(text.begin(), text.end(), absl::ascii_iscntrl, ' ');
  return text;
}

bool HasId(const json& message, int64_t id) {
  const auto found = message.find("id");
  return found != message.end() && found->is_number_integer() &&
         found->get<int64_t>() == id;
}

absl::Status Garbage(absl::string_view what) {
  return absl::DataLossError(absl::StrCat("it sent ", what));
}

// One entry of "detections"; kDataLoss where it is none.
absl::StatusOr<camherd::v1::Detection> ParseDetection(
    const json& entry, absl::Span<const Picture> pictures, size_t* picture) {
  if (!entry.is_object() || !entry.contains("picture") ||
      !entry.contains("class") || !entry.contains("confidence") ||
      !entry.contains("box") || !entry["picture"].is_number_unsigned() ||
      !entry["class"].is_string() || !entry["confidence"].is_number() ||
      !entry["box"].is_array() || entry["box"].size() != 4) {
    return Garbage("a detection without picture, class, confidence or box");
  }
  *picture = entry["picture"].get<size_t>();
  if (*picture >= pictures.size()) {
    return Garbage("a detection of a picture that is not in the batch");
  }
  const auto confidence = entry["confidence"].get<double>();
  if (!(confidence >= 0 && confidence <= 1)) {
    return Garbage(absl::StrCat("a confidence of ", confidence));
  }
  for (const json& side : entry["box"]) {
    if (!side.is_number()) return Garbage("a box that holds no numbers");
  }
  camherd::v1::Detection detection;
  detection.set_class_name(entry["class"].get<std::string>());
  detection.set_confidence(static_cast<float>(confidence));
  camherd::v1::Box& box = *detection.mutable_box();
  box.set_x1(entry["box"][0].get<float>());
  box.set_y1(entry["box"][1].get<float>());
  box.set_x2(entry["box"][2].get<float>());
  box.set_y2(entry["box"][3].get<float>());
  return detection;
}

absl::StatusOr<InferResult> ParseResult(
    const json& message, absl::Span<const Picture> pictures,
    const std::vector<std::string>& classes) {
  const auto detections = message.find("detections");
  const auto undecodable = message.find("undecodable");
  if (detections == message.end() || !detections->is_array() ||
      detections->size() > kMaxDetections || undecodable == message.end() ||
      !undecodable->is_array() || undecodable->size() > pictures.size()) {
    return Garbage("a result without detections or undecodable");
  }
  InferResult result;
  for (const json& index : *undecodable) {
    if (!index.is_number_unsigned() || index.get<size_t>() >= pictures.size()) {
      return Garbage("an undecodable picture that is not in the batch");
    }
    result.undecodable_frames.push_back(
        pictures[index.get<size_t>()].frame_index);
  }
  for (const json& entry : *detections) {
    size_t picture = 0;
    CAMHERD_ASSIGN_OR_RETURN(camherd::v1::Detection detection,
                             ParseDetection(entry, pictures, &picture));
    if (std::find(classes.begin(), classes.end(), detection.class_name()) ==
            classes.end() ||
        !ClipBox(pictures[picture].width, pictures[picture].height,
                 *detection.mutable_box())) {
      continue;
    }
    detection.set_frame_index(pictures[picture].frame_index);
    result.detections.push_back(std::move(detection));
  }
  // NMS is the worker's; an IoU of 1 only orders.
  SuppressNonMaxima(result.detections, 1.0);
  return result;
}

}  // namespace

VenvEngine::VenvEngine(const Options& options)
    : options_(options),
      wake_fd_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE)) {
  if (wake_fd_ < 0) LogFatal("eventfd failed");
}

VenvEngine::~VenvEngine() {
  Stop();
  close(wake_fd_);
}

absl::StatusOr<std::unique_ptr<VenvEngine>> VenvEngine::Create(
    const Options& options, const StopSignal& stop) {
  CAMHERD_RETURN_IF_ERROR(MakeDirs(options.cache_dir));
  std::unique_ptr<VenvEngine> engine(new VenvEngine(options));
  for (int i = 0; i < options.workers; ++i) {
    engine->slots_.emplace_back([e = engine.get()] { e->RunSlot(); });
  }
  SteadyMutex::Holder lock(&engine->mu_);
  const auto settled = [e = engine.get()]() {
    e->mu_.AssertHeld();
    return !e->broken_.ok() || e->slots_ready_ == e->options_.workers;
  };
  while (!engine->mu_.AwaitFor(settled, absl::Milliseconds(100))) {
    if (stop.IsSet()) return absl::CancelledError("stopped");
  }
  if (!engine->broken_.ok()) return engine->broken_;
  return engine;
}

absl::StatusOr<std::unique_ptr<VenvWorker>> VenvEngine::StartWorker() {
  const absl::Duration deadline =
      Clock::Real().SteadyNow() + options_.start_timeout;
  VenvWorker::Options options;
  options.model = options_.model;
  options.process.argv = {options_.python, options_.runner};
  options.process.env =
      VariablesInEnvironment(options_.cache_dir, options_.threads_per_worker);
  options.process.cwd = options_.cache_dir;
  options.process.data_limit_bytes = options_.memory_bytes;
  CAMHERD_ASSIGN_OR_RETURN(std::unique_ptr<VenvWorker> worker,
                           VenvWorker::Start(std::move(options)));
  const json configure = {{"type", "configure"},
                          {"protocol", kProtocol},
                          {"model", options_.model},
                          {"weights", options_.weights},
                          {"width", options_.input_width},
                          {"height", options_.input_height},
                          {"threads", options_.threads_per_worker},
                          {"classes", options_.classes},
                          {"blobs", json::array()}};
  CAMHERD_RETURN_IF_ERROR(worker->Send(Dump(configure), {}, deadline, stop_));
  CAMHERD_ASSIGN_OR_RETURN(const std::string text,
                           worker->Receive(deadline, stop_));
  CAMHERD_ASSIGN_OR_RETURN(const json hello, ParseHeader(text));
  if (hello["type"] == "error") {
    return absl::FailedPreconditionError(
        absl::StrCat("it cannot load: ", StringOf(hello, "reason")));
  }
  if (hello["type"] != "hello" ||
      hello.value("protocol", json()) != kProtocol ||
      !hello.contains("classes") || !hello["classes"].is_array()) {
    return absl::DataLossError(
        absl::StrCat("it did not say hello in protocol ", kProtocol));
  }
  if (StringOf(hello, "model") != options_.model) {
    return absl::FailedPreconditionError(
        absl::StrCat("it says it is the model \"", StringOf(hello, "model"),
                     "\", not \"", options_.model, "\""));
  }
  std::set<std::string> known;
  for (const json& name : hello["classes"]) {
    if (name.is_string()) known.insert(name.get<std::string>());
  }
  for (const std::string& name : options_.classes) {
    if (known.count(name) == 0) {
      return absl::FailedPreconditionError(absl::StrCat(
          "run_inference.py does not know the class \"", name,
          "\" of model.yaml; it knows [", absl::StrJoin(known, ", "), "]"));
    }
  }
  SteadyMutex::Holder lock(&mu_);
  device_ = StringOf(hello, "device");
  return worker;
}

void VenvEngine::Pause(Backoff& backoff) {
  pollfd entry = {stop_.fd(), POLLIN, 0};
  poll(&entry, 1, static_cast<int>(absl::ToInt64Milliseconds(backoff.Next())));
}

void VenvEngine::RunSlot() {
  Backoff backoff(options_.restart_backoff);
  std::unique_ptr<VenvWorker> worker;
  bool first = true;
  int failures = 0;
  while (!stop_.IsSet()) {
    if (worker == nullptr) {
      if (!first) ++restarts_;
      absl::StatusOr<std::unique_ptr<VenvWorker>> started = StartWorker();
      if (stop_.IsSet()) break;
      if (!started.ok()) {
        ++failures;
        LogWarning("worker did not start", {{"model", options_.model},
                                            {"failures", failures},
                                            {"error", started.status()}});
        if (first || failures >= options_.max_start_failures) {
          SetBroken(absl::FailedPreconditionError(absl::StrCat(
              "the worker of ", options_.model,
              " cannot be started: ", started.status().message())));
          return;
        }
        Pause(backoff);
        continue;
      }
      worker = *std::move(started);
      failures = 0;
      if (first) {
        SteadyMutex::Holder lock(&mu_);
        ++slots_ready_;
      }
      first = false;
    }
    const absl::Status idle = worker->WaitIdle(wake_fd_, stop_);
    if (absl::IsCancelled(idle)) break;
    if (!idle.ok()) {
      LogWarning("worker failed while idle, starting it anew",
                 {{"model", options_.model}, {"error", idle}});
      worker.reset();
      Pause(backoff);
      continue;
    }
    Job* job = TakeJob();
    if (job == nullptr) continue;
    RunJob(*job, worker);
    if (worker != nullptr) {
      backoff.Reset();
    } else {
      Pause(backoff);
    }
  }
  if (worker != nullptr) worker->Kill();
}

VenvEngine::Job* VenvEngine::TakeJob() {
  uint64_t count = 0;
  if (read(wake_fd_, &count, sizeof(count)) != sizeof(count)) return nullptr;
  SteadyMutex::Holder lock(&mu_);
  if (queue_.empty()) return nullptr;
  Job* job = queue_.front();
  queue_.pop_front();
  job->taken = true;
  return job;
}

void VenvEngine::RunJob(Job& job, std::unique_ptr<VenvWorker>& worker) {
  for (int attempt = 1;; ++attempt) {
    bool worker_is_fine = true;
    absl::StatusOr<InferResult> result =
        Exchange(*worker, job, &worker_is_fine);
    if (worker_is_fine) {
      Finish(job, std::move(result));
      return;
    }
    std::string reason(result.status().message());
    if (!absl::IsUnavailable(result.status())) {
      // An unavailable worker has told already how it ended.
      absl::StrAppend(&reason, "; ", worker->Kill());
    }
    worker.reset();
    if (stop_.IsSet()) {
      Finish(job, absl::UnavailableError("the engine is stopping"));
      return;
    }
    LogWarning(
        "worker failed on a batch",
        {{"model", options_.model}, {"attempt", attempt}, {"error", reason}});
    if (attempt == 2) {
      Finish(job, absl::AbortedError(absl::StrCat(
                      "the worker failed twice on this batch: ", reason)));
      return;
    }
    ++restarts_;
    absl::StatusOr<std::unique_ptr<VenvWorker>> started = StartWorker();
    if (!started.ok()) {
      Finish(job,
             absl::UnavailableError(absl::StrCat(
                 "the worker failed (", reason,
                 ") and does not start again: ", started.status().message())));
      return;
    }
    worker = *std::move(started);
  }
}

absl::StatusOr<InferResult> VenvEngine::Exchange(VenvWorker& worker,
                                                 const Job& job,
                                                 bool* worker_is_fine) {
  *worker_is_fine = false;
  const absl::Duration deadline =
      Clock::Real().SteadyNow() + options_.batch_timeout;
  const int64_t id = next_id_++;
  std::vector<absl::string_view> blobs;
  json sizes = json::array();
  for (const Picture& picture : job.pictures) {
    blobs.push_back(picture.jpeg);
    sizes.push_back(picture.jpeg.size());
  }
  const json batch = {
      {"type", "batch"},
      {"id", id},
      {"deadline_seconds", absl::ToDoubleSeconds(options_.batch_timeout)},
      {"min_score", job.options.min_score},
      {"nms_iou", job.options.nms_iou},
      {"blobs", std::move(sizes)}};
  CAMHERD_RETURN_IF_ERROR(worker.Send(Dump(batch), blobs, deadline, stop_));
  CAMHERD_ASSIGN_OR_RETURN(const std::string text,
                           worker.Receive(deadline, stop_));
  CAMHERD_ASSIGN_OR_RETURN(const json answer, ParseHeader(text));
  if (!HasId(answer, id)) return Garbage("an answer to another batch");
  if (answer["type"] == "error") {
    *worker_is_fine = true;
    return absl::AbortedError(StringOf(answer, "reason"));
  }
  if (answer["type"] != "result") return Garbage("an answer of no known type");
  CAMHERD_ASSIGN_OR_RETURN(InferResult result,
                           ParseResult(answer, job.pictures, options_.classes));
  *worker_is_fine = true;
  return result;
}

absl::StatusOr<InferResult> VenvEngine::Infer(
    absl::Span<const Picture> pictures, const InferOptions& options) {
  std::vector<Picture> good;
  std::vector<int> broken;
  for (const Picture& picture : pictures) {
    // Python's libraries fill with grey what is not there, or crash.
    const bool decodes =
        DecodeJpeg(picture.jpeg,
                   {.max_pixels = int64_t{picture.width} * picture.height,
                    .cover_width = 1,
                    .cover_height = 1})
            .ok();
    if (decodes) {
      good.push_back(picture);
    } else {
      broken.push_back(picture.frame_index);
    }
  }
  absl::StatusOr<InferResult> result =
      good.empty() ? InferResult() : RunOnWorker(good, options);
  if (result.ok()) {
    result->undecodable_frames.insert(result->undecodable_frames.end(),
                                      broken.begin(), broken.end());
  }
  return result;
}

absl::StatusOr<InferResult> VenvEngine::RunOnWorker(
    absl::Span<const Picture> pictures, const InferOptions& options) {
  Job job;
  job.pictures = pictures;
  job.options = options;
  SteadyMutex::Holder lock(&mu_);
  if (stopped_) return absl::UnavailableError("the engine is stopped");
  if (!broken_.ok()) return broken_;
  queue_.push_back(&job);
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t n = write(wake_fd_, &one, sizeof(one));
  const auto begun = [&job] { return job.taken || job.done; };
  const absl::Duration came = Clock::Real().SteadyNow();
  if (!mu_.AwaitFor(begun, options.queue_timeout)) {
    queue_.erase(std::find(queue_.begin(), queue_.end(), &job));
    return absl::UnavailableError(
        absl::StrCat("no worker of ", options_.model, " was free within ",
                     absl::FormatDuration(options.queue_timeout)));
  }
  const absl::Duration waited = Clock::Real().SteadyNow() - came;
  mu_.Await([&job] { return job.done; });
  if (job.result.ok()) job.result->waited = waited;
  return std::move(job.result);
}

void VenvEngine::Finish(Job& job, absl::StatusOr<InferResult> result) {
  SteadyMutex::Holder lock(&mu_);
  job.result = std::move(result);
  job.done = true;
}

void VenvEngine::FailQueue(const absl::Status& status) {
  for (Job* job : queue_) {
    job->result = status;
    job->done = true;
  }
  queue_.clear();
}

void VenvEngine::SetBroken(const absl::Status& status) {
  SteadyMutex::Holder lock(&mu_);
  broken_ = status;
  FailQueue(status);
}

void VenvEngine::Stop() {
  stop_.Set();
  {
    SteadyMutex::Holder lock(&mu_);
    stopped_ = true;
    FailQueue(absl::UnavailableError("the engine is stopped"));
  }
  for (std::thread& slot : slots_) {
    if (slot.joinable()) slot.join();
  }
}

std::string VenvEngine::device() const {
  SteadyMutex::Holder lock(&mu_);
  return device_;
}

int VenvEngine::queue_depth() const {
  SteadyMutex::Holder lock(&mu_);
  return static_cast<int>(queue_.size());
}

}  // namespace camherd::inference
