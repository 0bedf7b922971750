// SPDX-License-Identifier: Apache-2.0
#include "services/inference/inference_core.h"

#include <algorithm>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "services/common/camera_url.h"
#include "services/common/clock.h"
#include "services/common/file.h"
#include "services/common/log.h"
#include "services/common/retry_delay.h"
#include "services/common/status_macros.h"
#include "services/common/trace_scope.h"
#include "services/inference/detection_filter.h"
#include "services/inference/jpeg_decoder.h"

namespace camherd::inference {
namespace {

using camherd::v1::BatchManifest;
using camherd::v1::Detection;
using camherd::v1::InferBatchHeader;
using camherd::v1::InferBatchResponse;
using camherd::v1::ModelResult;

constexpr int kMaxFrames = 64;
constexpr int kMaxModels = 16;
constexpr int kDigestBytes = 32;
// A stream that was refused is waited for so many of the pauses it was told.
constexpr int kPatienceRetries = 3;
// Longer than a batch may take through several models in Python, each with its
// own limits.
constexpr absl::Duration kWorkHangs = absl::Minutes(30);

ResultsCache::Key KeyOf(const BatchManifest& manifest) {
  return {manifest.session_id(), manifest.batch_seq()};
}

// A refusal that comes before the aggregator was asked.
absl::Status Refusal(absl::Status status, absl::Duration retry) {
  return WithoutEffect(WithRetryDelay(std::move(status), retry));
}

// What capture does with a batch that the aggregator did not take: what says
// that the batch itself is at fault passes through, and that it has no room,
// which it says before it commits anything. After anything else the record may
// exist.
absl::Status AggregatorStatus(const absl::Status& status,
                              absl::Duration retry) {
  const std::string message =
      absl::StrCat("the aggregator did not record it: ", status.message());
  retry = RetryDelay(status).value_or(retry);
  switch (status.code()) {
    case absl::StatusCode::kAlreadyExists:
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kDataLoss:
      return status;
    case absl::StatusCode::kResourceExhausted:
      return Refusal(absl::ResourceExhaustedError(message), retry);
    default:
      return HadNoEffect(status)
                 ? Refusal(absl::UnavailableError(message), retry)
                 : WithRetryDelay(absl::UnavailableError(message), retry);
  }
}

void SetFailed(ModelResult& result, const std::string& reason) {
  result.set_outcome(camherd::v1::OUTCOME_CODE_FAILED);
  result.set_reason(reason);
}

}  // namespace

class InferenceCore::WorkNote {
 public:
  explicit WorkNote(InferenceCore& core) : core_(core) {
    absl::MutexLock lock(&core_.mu_);
    at_ = core_.working_since_.insert(Clock::Real().SteadyNow());
  }
  ~WorkNote() {
    absl::MutexLock lock(&core_.mu_);
    core_.working_since_.erase(at_);
  }
  WorkNote(const WorkNote&) = delete;
  WorkNote& operator=(const WorkNote&) = delete;

 private:
  InferenceCore& core_;
  std::multiset<absl::Duration>::iterator at_;
};

InferenceCore::Batch::~Batch() {
  absl::MutexLock lock(&core_.mu_);
  core_.active_.erase(KeyOf(header_.manifest()));
  core_.admission_.Leave(bytes_);
}

absl::Status InferenceCore::Batch::AddFrame(camherd::v1::Frame frame) {
  const BatchManifest& manifest = header_.manifest();
  const auto index = static_cast<int>(jpegs_.size());
  if (index >= manifest.frames_size()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "more frames than the ", manifest.frames_size(), " of the manifest"));
  }
  const auto& info = manifest.frames(index);
  if (frame.has_info() && frame.info().frame_seq() != info.frame_seq()) {
    return absl::InvalidArgumentError(
        absl::StrCat("frame ", index, " must be frame_seq ", info.frame_seq(),
                     " as in the manifest, got ", frame.info().frame_seq()));
  }
  if (static_cast<int64_t>(frame.jpeg().size()) != info.size_bytes()) {
    return absl::DataLossError(
        absl::StrCat("frame ", index, " has ", frame.jpeg().size(),
                     " bytes, the manifest says ", info.size_bytes()));
  }
  if (Sha256(frame.jpeg()) != info.sha256()) {
    return absl::DataLossError(absl::StrCat(
        "frame ", index, " has another SHA-256 than the manifest says"));
  }
  jpegs_.push_back(std::move(*frame.mutable_jpeg()));
  return absl::OkStatus();
}

InferenceCore::InferenceCore(const Options& options, ModelRegistry& registry,
                             ResultSink& sink, InferenceMetrics* metrics)
    : options_(options),
      registry_(registry),
      sink_(sink),
      metrics_(metrics),
      cache_(options.cache_batches, options.cache_bytes),
      bitmap_budget_{options.max_bitmap_bytes},
      admission_({.max_batches = options.max_batches_in_flight,
                  .max_bytes = options.max_bytes_in_flight,
                  .patience = kPatienceRetries * options.admission_retry}),
      batch_pool_(options.max_batches_in_flight,
                  static_cast<size_t>(options.max_batches_in_flight)),
      ad_hoc_pool_(options.max_detects_in_flight,
                   static_cast<size_t>(options.max_detects_in_flight) * 4) {}

InferenceCore::~InferenceCore() { Stop(); }

absl::Status InferenceCore::CheckHeader(const InferBatchHeader& header,
                                        int64_t* bytes) const {
  const BatchManifest& manifest = header.manifest();
  if (header.manifest_sha256().size() != kDigestBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("manifest_sha256 must be 32 bytes, got ",
                     header.manifest_sha256().size()));
  }
  CAMHERD_RETURN_IF_ERROR(CheckId("manifest.stream_id", manifest.stream_id()));
  CAMHERD_RETURN_IF_ERROR(
      CheckId("manifest.session_id", manifest.session_id()));
  CAMHERD_RETURN_IF_ERROR(CheckId("manifest.camera_id", manifest.camera_id()));
  if (manifest.batch_seq() < 1) {
    return absl::InvalidArgumentError(absl::StrCat(
        "manifest.batch_seq must be at least 1, got ", manifest.batch_seq()));
  }
  if (manifest.models_size() < 1 || manifest.models_size() > kMaxModels) {
    return absl::InvalidArgumentError(
        absl::StrCat("manifest.models must hold 1 to ", kMaxModels,
                     " names, got ", manifest.models_size()));
  }
  std::set<std::string> names;
  for (const std::string& name : manifest.models()) {
    CAMHERD_RETURN_IF_ERROR(CheckId("manifest.models", name));
    if (!names.insert(name).second) {
      return absl::InvalidArgumentError(
          absl::StrCat("manifest.models names ", name, " twice"));
    }
  }
  if (manifest.frames_size() < 1 || manifest.frames_size() > kMaxFrames) {
    return absl::InvalidArgumentError(
        absl::StrCat("manifest.frames must hold 1 to ", kMaxFrames,
                     " frames, got ", manifest.frames_size()));
  }
  *bytes = 0;
  int64_t last_seq = 0;
  for (int i = 0; i < manifest.frames_size(); ++i) {
    const auto& frame = manifest.frames(i);
    if (frame.frame_seq() <= last_seq) {
      return absl::InvalidArgumentError(
          absl::StrCat("manifest.frames[", i, "].frame_seq must be over ",
                       last_seq, ", got ", frame.frame_seq()));
    }
    last_seq = frame.frame_seq();
    if (frame.sha256().size() != kDigestBytes) {
      return absl::InvalidArgumentError(
          absl::StrCat("manifest.frames[", i, "].sha256 must be 32 bytes, got ",
                       frame.sha256().size()));
    }
    if (frame.size_bytes() < 1 ||
        frame.size_bytes() > options_.max_frame_bytes) {
      return absl::InvalidArgumentError(absl::StrCat(
          "manifest.frames[", i, "].size_bytes must be in [1, ",
          options_.max_frame_bytes, "], got ", frame.size_bytes()));
    }
    *bytes += frame.size_bytes();
  }
  if (*bytes > options_.max_bytes_in_flight) {
    return absl::InvalidArgumentError(
        absl::StrCat("the batch has ", *bytes, " bytes, at most ",
                     options_.max_bytes_in_flight, " can be taken"));
  }
  return absl::OkStatus();
}

absl::Status InferenceCore::CheckModels(const BatchManifest& manifest) {
  std::vector<std::string> failed;
  std::string preparing;
  bool preparing_had_failed = true;
  bool one_ready = false;
  for (const std::string& name : manifest.models()) {
    const ModelRegistry::Use use = registry_.Acquire(name);
    if (use.state == camherd::v1::MODEL_STATE_READY) {
      one_ready = true;
    } else if (use.state == camherd::v1::MODEL_STATE_FAILED) {
      failed.push_back(absl::StrCat(name, ": ", use.failure));
    } else {
      preparing = name;
      preparing_had_failed = preparing_had_failed && !use.failure.empty();
    }
  }
  if (!preparing.empty() && !(one_ready && preparing_had_failed)) {
    return Refusal(absl::UnavailableError(
                       absl::StrCat("model ", preparing, " is being prepared")),
                   options_.model_retry);
  }
  if (one_ready) return absl::OkStatus();
  return Refusal(absl::FailedPreconditionError(absl::StrCat(
                     "all models are FAILED: ", absl::StrJoin(failed, "; "))),
                 options_.model_retry);
}

absl::StatusOr<std::unique_ptr<InferenceCore::Batch>> InferenceCore::Admit(
    InferBatchHeader header) {
  int64_t bytes = 0;
  CAMHERD_RETURN_IF_ERROR(CheckHeader(header, &bytes));
  const BatchManifest& manifest = header.manifest();
  const ResultsCache::Key key = KeyOf(manifest);
  {
    absl::MutexLock lock(&mu_);
    if (draining_) {
      return Refusal(absl::UnavailableError("the service is stopping"),
                     options_.admission_retry);
    }
    // Not as if nothing were done: the other call may record it.
    if (active_.count(key) > 0) {
      return WithRetryDelay(
          absl::UnavailableError("this batch is being worked on"),
          options_.admission_retry);
    }
  }
  if (const absl::Status available = sink_.CheckAvailable(); !available.ok()) {
    return Refusal(available, options_.aggregator_retry);
  }
  if (!cache_.Has(key, header.manifest_sha256())) {
    CAMHERD_RETURN_IF_ERROR(CheckModels(manifest));
  }
  absl::MutexLock lock(&mu_);
  if (active_.count(key) > 0) {
    return WithRetryDelay(
        absl::UnavailableError("this batch is being worked on"),
        options_.admission_retry);
  }
  if (!admission_.Enter(manifest.stream_id(), bytes,
                        Clock::Real().SteadyNow())) {
    return Refusal(absl::ResourceExhaustedError(absl::StrCat(
                       admission_.batches(), " batches of ", admission_.bytes(),
                       " bytes are in flight")),
                   options_.admission_retry);
  }
  active_.insert(key);
  return std::unique_ptr<Batch>(new Batch(*this, std::move(header), bytes));
}

void InferenceCore::Run(std::unique_ptr<Batch> batch, Cancelled cancelled,
                        BatchDone done) {
  const int missing = batch->header_.manifest().frames_size() -
                      static_cast<int>(batch->jpegs_.size());
  // What is logged of it is of its trace; the pool goes on with that.
  std::optional<TraceScope> scope;
  if (auto trace = TraceContext::Parse(batch->header_.traceparent())) {
    scope.emplace(*std::move(trace));
  }
  // shared_ptr, since a std::function must be copyable. `done` is copied, so
  // that it can still be called when the task is refused.
  auto task = [this, shared = std::shared_ptr<Batch>(std::move(batch)),
               cancelled = std::move(cancelled), done, missing]() mutable {
    absl::StatusOr<InferBatchResponse> response =
        missing == 0 ? Work(*shared, *cancelled)
                     : absl::InvalidArgumentError(absl::StrCat(
                           missing, " frames of the manifest did not come"));
    // What admission granted is given back before the answer, so that the
    // sender's next batch finds room.
    shared.reset();
    done(std::move(response));
  };
  if (!batch_pool_.TryRun(std::move(task))) {
    done(Refusal(absl::UnavailableError("the service is stopping"),
                 options_.admission_retry));
  }
}

absl::StatusOr<InferBatchResponse> InferenceCore::Work(
    const Batch& batch, const std::atomic<bool>& cancelled) {
  const WorkNote note(*this);
  const BatchManifest& manifest = batch.header_.manifest();
  const std::string& digest = batch.header_.manifest_sha256();
  const ResultsCache::Key key = KeyOf(manifest);
  std::optional<ResultsCache::Results> results = cache_.Find(key, digest);
  if (results.has_value()) {
    if (metrics_ != nullptr) metrics_->CacheHit();
  } else {
    if (cancelled) return absl::CancelledError("the sender has gone");
    absl::StatusOr<ResultsCache::Results> inferred = Infer(batch);
    if (!inferred.ok()) return WithoutEffect(inferred.status());
    results = *std::move(inferred);
    LogDebug("batch inferred", {{"stream", manifest.stream_id()},
                                {"session", manifest.session_id()},
                                {"batch", manifest.batch_seq()}});
    cache_.Put(key, digest, *results);
  }

  camherd::v1::AddBatchResultHeader header;
  *header.mutable_manifest() = manifest;
  header.set_manifest_sha256(digest);
  if (const TraceContext* trace = TraceScope::Current()) {
    header.set_traceparent(trace->Child().ToHeader());
  }
  std::set<int> wanted = {0};
  for (const ModelResult& result : *results) {
    *header.add_results() = result;
    for (const Detection& detection : result.detections()) {
      wanted.insert(detection.frame_index());
    }
  }
  std::vector<ResultSink::PictureRef> pictures;
  pictures.reserve(wanted.size());
  for (const int index : wanted) {
    pictures.push_back({index, batch.jpegs_[static_cast<size_t>(index)]});
  }
  const auto recorded = sink_.AddBatchResult(header, pictures);
  if (!recorded.ok()) {
    LogWarning("batch not recorded", {{"stream", manifest.stream_id()},
                                      {"batch", manifest.batch_seq()},
                                      {"error", recorded.status()}});
    return AggregatorStatus(recorded.status(), options_.aggregator_retry);
  }
  InferBatchResponse response;
  response.set_record_id(recorded->record_id());
  response.set_already_recorded(recorded->already_recorded());
  *response.mutable_results() = std::move(*header.mutable_results());
  return response;
}

absl::StatusOr<ResultsCache::Results> InferenceCore::Infer(const Batch& batch) {
  std::vector<Picture> pictures;
  std::vector<int> undecodable;
  for (size_t i = 0; i < batch.jpegs_.size(); ++i) {
    const auto size =
        ReadJpegHeader(batch.jpegs_[i], options_.max_frame_pixels);
    if (size.ok()) {
      pictures.push_back(
          {static_cast<int>(i), batch.jpegs_[i], size->width, size->height});
    } else {
      undecodable.push_back(static_cast<int>(i));
      LogWarning("frame cannot be decoded",
                 {{"stream", batch.header_.manifest().stream_id()},
                  {"batch", batch.header_.manifest().batch_seq()},
                  {"frame_index", i},
                  {"error", size.status()}});
    }
  }
  const auto& models = batch.header_.manifest().models();
  std::vector<ModelRegistry::Use> uses;
  uses.reserve(static_cast<size_t>(models.size()));
  for (const std::string& name : models) {
    uses.push_back(registry_.Acquire(name));
  }
  std::deque<SharedBitmap> bitmaps;
  ShareBitmaps(uses, pictures, bitmaps);
  ResultsCache::Results results;
  bool all_failed = true;
  for (size_t i = 0; i < uses.size(); ++i) {
    CAMHERD_ASSIGN_OR_RETURN(
        ModelResult result,
        InferModel(models.at(static_cast<int>(i)), uses[i],
                   batch.header_.filter(), pictures, undecodable));
    // Engine and outcome say whether it was the model or only this batch.
    all_failed = all_failed &&
                 result.outcome() == camherd::v1::OUTCOME_CODE_FAILED &&
                 result.engine().empty();
    results.push_back(std::move(result));
  }
  if (all_failed) {
    std::vector<std::string> reasons;
    for (const ModelResult& result : results) {
      reasons.push_back(absl::StrCat(result.model(), ": ", result.reason()));
    }
    return WithRetryDelay(
        absl::FailedPreconditionError(absl::StrCat(
            "all models are FAILED: ", absl::StrJoin(reasons, "; "))),
        options_.model_retry);
  }
  if (metrics_ != nullptr) {
    // Once each, however many models looked at it.
    std::set<int> broken;
    for (const ModelResult& result : results) {
      broken.insert(result.undecodable_frames().begin(),
                    result.undecodable_frames().end());
    }
    metrics_->FramesUndecodable(static_cast<int>(broken.size()));
  }
  return results;
}

void InferenceCore::ShareBitmaps(const std::vector<ModelRegistry::Use>& uses,
                                 std::vector<Picture>& pictures,
                                 std::deque<SharedBitmap>& bitmaps) {
  if (uses.size() < 2) return;
  for (Picture& picture : pictures) {
    JpegSize cover;
    int decoders = 0;
    for (const ModelRegistry::Use& use : uses) {
      if (use.engine == nullptr) continue;
      const JpegSize size = use.engine->DecodedSize(picture);
      cover.width = std::max(cover.width, size.width);
      cover.height = std::max(cover.height, size.height);
      decoders += size.width > 0 ? 1 : 0;
    }
    if (decoders < 2) continue;
    picture.shared = &bitmaps.emplace_back(cover, bitmap_budget_);
  }
}

absl::StatusOr<ModelResult> InferenceCore::InferModel(
    const std::string& name, const ModelRegistry::Use& use,
    const camherd::v1::DetectionFilter& filter,
    const std::vector<Picture>& pictures, const std::vector<int>& undecodable) {
  ModelResult result;
  result.set_model(name);
  if (use.manifest != nullptr) {
    result.set_section(use.manifest->section);
    result.set_complaint_type(use.manifest->complaint_type);
    *result.mutable_complaint_classes() = {
        use.manifest->complaint_classes.begin(),
        use.manifest->complaint_classes.end()};
  }
  if (use.engine == nullptr) {
    if (use.failure.empty()) {
      return WithRetryDelay(absl::UnavailableError(absl::StrCat(
                                "model ", name, " is being prepared")),
                            options_.model_retry);
    }
    SetFailed(result, use.failure);
    return result;
  }
  result.set_engine(use.engine->name());
  result.set_device(use.engine->device());
  result.set_precision(use.engine->precision());
  result.set_weights_sha256(use.weights_sha256);
  *result.mutable_undecodable_frames() = {undecodable.begin(),
                                          undecodable.end()};
  if (pictures.empty()) {
    result.set_outcome(camherd::v1::OUTCOME_CODE_SKIPPED);
    result.set_reason("no picture of the batch can be decoded");
    return result;
  }
  const absl::Duration start = Clock::Real().SteadyNow();
  const double min_score = use.manifest->min_score;
  absl::StatusOr<InferResult> found = use.engine->Infer(
      pictures,
      {.min_score = LeastScore(filter, min_score, use.manifest->classes),
       .nms_iou = use.manifest->nms_iou,
       .queue_timeout = options_.queue_timeout});
  const absl::Duration time = Clock::Real().SteadyNow() - start;
  result.set_inference_seconds(absl::ToDoubleSeconds(time));
  if (absl::IsUnavailable(found.status())) {
    return WithRetryDelay(found.status(), options_.model_retry);
  }
  registry_.CountBatch(name, found.ok());
  if (found.ok()) {
    registry_.AddLatency(name, time / static_cast<double>(pictures.size()));
  }
  if (metrics_ != nullptr) {
    metrics_->ModelRan(name, found.ok(), time);
    if (found.ok()) metrics_->Waited(name, found->waited);
  }
  if (!found.ok()) {
    SetFailed(result, std::string(found.status().message()));
    if (absl::IsFailedPrecondition(found.status())) {
      registry_.ReportBroken(name, use.engine.get(), found.status());
      result.clear_engine();
      result.clear_device();
      result.clear_precision();
    }
    return result;
  }
  result.set_outcome(camherd::v1::OUTCOME_CODE_OK);
  ApplyFilter(filter, min_score, pictures, found->detections);
  for (Detection& detection : found->detections) {
    *result.add_detections() = std::move(detection);
  }
  for (const int index : found->undecodable_frames) {
    result.add_undecodable_frames(index);
  }
  std::sort(result.mutable_undecodable_frames()->begin(),
            result.mutable_undecodable_frames()->end());
  return result;
}

void InferenceCore::Detect(camherd::v1::DetectRequest request,
                           DetectDone done) {
  // shared_ptr, so that the picture is not copied with the task.
  auto shared =
      std::make_shared<camherd::v1::DetectRequest>(std::move(request));
  if (!ad_hoc_pool_.TryRun(
          [this, shared, done] { done(DetectNow(*shared)); })) {
    done(WithRetryDelay(
        absl::ResourceExhaustedError("too many pictures are waiting"),
        options_.admission_retry));
  }
}

absl::StatusOr<camherd::v1::DetectResponse> InferenceCore::DetectNow(
    const camherd::v1::DetectRequest& request) {
  CAMHERD_RETURN_IF_ERROR(CheckId("model", request.model()));
  for (const auto& [field, present, value] :
       {std::tuple{"min_score", request.has_min_score(), request.min_score()},
        std::tuple{"nms_iou", request.has_nms_iou(), request.nms_iou()}}) {
    if (present && !(value >= 0 && value <= 1)) {
      return absl::InvalidArgumentError(
          absl::StrCat(field, " must be in [0, 1], got ", value));
    }
  }
  if (static_cast<int64_t>(request.jpeg().size()) > options_.max_frame_bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("jpeg must have at most ", options_.max_frame_bytes,
                     " bytes, got ", request.jpeg().size()));
  }
  const auto size = ReadJpegHeader(request.jpeg(), options_.max_frame_pixels);
  if (!size.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat("jpeg: ", size.status().message()));
  }
  CAMHERD_RETURN_IF_ERROR(registry_.Get(request.model()).status());
  const ModelRegistry::Use use = registry_.Acquire(request.model());
  if (use.engine == nullptr) {
    if (use.state == camherd::v1::MODEL_STATE_FAILED) {
      return absl::FailedPreconditionError(use.failure);
    }
    return WithRetryDelay(absl::UnavailableError(absl::StrCat(
                              "model ", request.model(), " is being prepared")),
                          options_.model_retry);
  }
  const absl::Duration start = Clock::Real().SteadyNow();
  const Picture picture = {0, request.jpeg(), size->width, size->height};
  CAMHERD_ASSIGN_OR_RETURN(
      InferResult found,
      use.engine->Infer(
          {picture},
          {.min_score = request.has_min_score() ? request.min_score()
                                                : use.manifest->min_score,
           .nms_iou = request.has_nms_iou() ? request.nms_iou()
                                            : use.manifest->nms_iou,
           .every_class = request.every_class(),
           .queue_timeout = options_.queue_timeout}));
  if (!found.undecodable_frames.empty()) {
    return absl::InvalidArgumentError("jpeg: the picture is broken");
  }
  const absl::Duration time = Clock::Real().SteadyNow() - start;
  registry_.AddLatency(request.model(), time);
  camherd::v1::DetectResponse response;
  for (Detection& detection : found.detections) {
    *response.add_detections() = std::move(detection);
  }
  response.set_width(size->width);
  response.set_height(size->height);
  response.set_engine(use.engine->name());
  response.set_device(use.engine->device());
  response.set_precision(use.engine->precision());
  response.set_inference_seconds(absl::ToDoubleSeconds(time));
  return response;
}

absl::Status InferenceCore::CheckAlive() {
  (void)registry_.Samples();
  absl::MutexLock lock(&mu_);
  if (working_since_.empty()) return absl::OkStatus();
  const absl::Duration age =
      Clock::Real().SteadyNow() - *working_since_.begin();
  if (age <= kWorkHangs) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat("a batch has been worked on for ",
                                             absl::ToInt64Seconds(age), " s"));
}

int InferenceCore::batches_in_flight() {
  absl::MutexLock lock(&mu_);
  return admission_.batches();
}

int64_t InferenceCore::bytes_in_flight() {
  absl::MutexLock lock(&mu_);
  return admission_.bytes();
}

void InferenceCore::Drain() {
  absl::MutexLock lock(&mu_);
  draining_ = true;
}

void InferenceCore::Stop() {
  Drain();
  batch_pool_.Stop();
  ad_hoc_pool_.Stop();
}

}  // namespace camherd::inference
