// SPDX-License-Identifier: Apache-2.0
#include "services/aggregator/aggregator_service.h"

#include <grpc/support/time.h>
#include <grpcpp/alarm.h>

#include <atomic>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "services/aggregator/grid_renderer.h"
#include "services/aggregator/page_token.h"
#include "services/aggregator/record_export.h"
#include "services/aggregator/record_import.h"
#include "services/aggregator/record_picture.h"
#include "services/common/camera_url.h"
#include "services/common/grpc_status.h"
#include "services/common/grpc_watch.h"
#include "services/common/log.h"
#include "services/common/retry_delay.h"
#include "services/common/status_macros.h"
#include "services/common/time_proto.h"

namespace camherd::aggregator {
namespace {

constexpr int kDefaultRecords = 50;
constexpr int kDefaultGrids = 100;
constexpr int kDefaultCameras = 100;
constexpr int kMinWidth = 16;
constexpr int kMaxWidth = 7680;
constexpr size_t kMaxFilterBytes = 200;
constexpr int kMaxFilterCameras = 1000;
constexpr size_t kMaxChunkBytes = size_t{1} << 20;

absl::Status CheckRecordId(int64_t record_id) {
  if (record_id >= 1) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("record_id must be at least 1, got ", record_id));
}

absl::Status CheckOptionalId(absl::string_view field, absl::string_view id) {
  return id.empty() ? absl::OkStatus() : CheckId(field, id);
}

// What a page token is bound to: the request without its paging.
template <typename Request>
std::string FilterOf(Request request) {
  request.clear_page_token();
  request.clear_page_size();
  return request.SerializeAsString();
}

absl::StatusOr<int64_t> TokenNumber(const std::string& text) {
  int64_t value = 0;
  if (absl::SimpleAtoi(text, &value)) return value;
  return absl::InvalidArgumentError("page_token is not one of this list");
}

absl::StatusOr<RecordFilter> MakeFilter(const v1::ListRecordsRequest& request) {
  CAMHERD_RETURN_IF_ERROR(CheckOptionalId("camera_id", request.camera_id()));
  CAMHERD_RETURN_IF_ERROR(CheckOptionalId("session_id", request.session_id()));
  CAMHERD_RETURN_IF_ERROR(
      CheckOptionalId("complaint_type", request.complaint_type()));
  if (request.class_name().size() > kMaxFilterBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("class_name must have at most ", kMaxFilterBytes,
                     " bytes, got ", request.class_name().size()));
  }
  if (request.camera_ids_size() > kMaxFilterCameras) {
    return absl::InvalidArgumentError(
        absl::StrCat("camera_ids must be at most ", kMaxFilterCameras, ", got ",
                     request.camera_ids_size()));
  }
  for (const std::string& camera : request.camera_ids()) {
    CAMHERD_RETURN_IF_ERROR(CheckId("camera_ids", camera));
  }
  RecordFilter filter{
      .camera_id = request.camera_id(),
      .camera_ids = {request.camera_ids().begin(), request.camera_ids().end()},
      .class_name = request.class_name(),
      .complaint_type = request.complaint_type(),
      .session_id = request.session_id()};
  if (request.has_since()) filter.since = FromProto(request.since());
  if (request.has_until()) filter.until = FromProto(request.until());
  if (request.has_since() && request.has_until() &&
      filter.since >= filter.until) {
    return absl::InvalidArgumentError(absl::StrCat(
        "since must be before until, got ", FormatRfc3339(filter.since),
        " and ", FormatRfc3339(filter.until)));
  }
  return filter;
}

absl::Status DoListRecords(RecordStore& store,
                           const v1::ListRecordsRequest& request,
                           v1::ListRecordsResponse& response) {
  CAMHERD_ASSIGN_OR_RETURN(const int page_size,
                           CheckPageSize(request.page_size(), kDefaultRecords));
  CAMHERD_ASSIGN_OR_RETURN(const RecordFilter filter, MakeFilter(request));
  std::optional<RecordPosition> after;
  if (!request.page_token().empty()) {
    CAMHERD_ASSIGN_OR_RETURN(
        const std::vector<std::string> fields,
        ReadPageToken(request.page_token(), FilterOf(request), 2));
    after.emplace();
    CAMHERD_ASSIGN_OR_RETURN(after->captured_us, TokenNumber(fields[0]));
    CAMHERD_ASSIGN_OR_RETURN(after->record_id, TokenNumber(fields[1]));
  }
  CAMHERD_ASSIGN_OR_RETURN(std::vector<v1::Record> records,
                           store.ListRecords(filter, after, page_size + 1));
  const bool more = records.size() > static_cast<size_t>(page_size);
  if (more) {
    records.pop_back();
    const v1::Record& last = records.back();
    response.set_next_page_token(MakePageToken(
        FilterOf(request),
        {absl::StrCat(absl::ToUnixMicros(FromProto(last.captured_at()))),
         absl::StrCat(last.record_id())}));
  }
  for (v1::Record& record : records) {
    *response.add_records() = std::move(record);
  }
  return absl::OkStatus();
}

absl::Status DoGetRecordImage(RecordStore& store,
                              const v1::GetRecordImageRequest& request,
                              v1::GetRecordImageResponse& response) {
  CAMHERD_RETURN_IF_ERROR(CheckRecordId(request.record_id()));
  CAMHERD_RETURN_IF_ERROR(CheckOptionalId("evidence", request.evidence()));
  if (request.width() != 0 &&
      (request.width() < kMinWidth || request.width() > kMaxWidth)) {
    return absl::InvalidArgumentError(absl::StrCat("width must be 0 or in [",
                                                   kMinWidth, ", ", kMaxWidth,
                                                   "], got ", request.width()));
  }
  CAMHERD_ASSIGN_OR_RETURN(const StoredRecord stored,
                           store.GetRecord(request.record_id()));
  CAMHERD_ASSIGN_OR_RETURN(
      const int frame,
      ChoosePicture(stored.record, request.evidence(), request.first_frame()));
  for (const StoredPicture& picture : stored.pictures) {
    if (picture.frame_index != frame) continue;
    absl::StatusOr<std::string> read = store.ReadPicture(picture);
    if (absl::IsNotFound(read.status())) {
      // Removed since, with its record?
      CAMHERD_RETURN_IF_ERROR(store.GetRecord(request.record_id()).status());
    }
    CAMHERD_ASSIGN_OR_RETURN(std::string jpeg, std::move(read));
    if (request.boxes() || request.width() > 0) {
      CAMHERD_ASSIGN_OR_RETURN(
          jpeg,
          DrawRecordPicture(jpeg,
                            request.boxes() ? DetectionsOf(stored.record, frame)
                                            : std::vector<v1::Detection>(),
                            request.width()));
    }
    response.set_jpeg(std::move(jpeg));
    response.set_frame_index(frame);
    return absl::OkStatus();
  }
  return absl::NotFoundError(absl::StrCat("record ", request.record_id(),
                                          " keeps no picture ", frame));
}

absl::Status DoListGrids(RecordStore& store,
                         const v1::ListGridsRequest& request,
                         v1::ListGridsResponse& response) {
  CAMHERD_ASSIGN_OR_RETURN(const int page_size,
                           CheckPageSize(request.page_size(), kDefaultGrids));
  CAMHERD_RETURN_IF_ERROR(
      CheckOptionalId("process_name", request.process_name()));
  int64_t before = std::numeric_limits<int64_t>::max();
  if (!request.page_token().empty()) {
    CAMHERD_ASSIGN_OR_RETURN(
        const std::vector<std::string> fields,
        ReadPageToken(request.page_token(), FilterOf(request), 1));
    CAMHERD_ASSIGN_OR_RETURN(before, TokenNumber(fields[0]));
  }
  CAMHERD_ASSIGN_OR_RETURN(
      std::vector<StoredGrid> grids,
      store.ListGrids(request.process_name(), before, page_size + 1));
  if (grids.size() > static_cast<size_t>(page_size)) {
    grids.pop_back();
    response.set_next_page_token(
        MakePageToken(FilterOf(request), {absl::StrCat(grids.back().grid_id)}));
  }
  for (StoredGrid& stored : grids) {
    *response.add_grids() = std::move(stored.grid);
  }
  return absl::OkStatus();
}

absl::Status DoListCameras(CameraDirectory& cameras,
                           const v1::ListCamerasRequest& request,
                           v1::ListCamerasResponse& response) {
  CAMHERD_ASSIGN_OR_RETURN(const int page_size,
                           CheckPageSize(request.page_size(), kDefaultCameras));
  std::string after;
  if (!request.page_token().empty()) {
    CAMHERD_ASSIGN_OR_RETURN(
        const std::vector<std::string> fields,
        ReadPageToken(request.page_token(), FilterOf(request), 1));
    after = fields[0];
  }
  if (request.after_revision() < 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "after_revision must not be negative, got ", request.after_revision()));
  }
  // Before the cameras: a change in between is told twice rather than never.
  response.set_revision(cameras.revision());
  std::vector<v1::Camera> list = cameras.List(
      after, static_cast<size_t>(page_size) + 1, request.after_revision());
  if (list.size() > static_cast<size_t>(page_size)) {
    list.pop_back();
    response.set_next_page_token(
        MakePageToken(FilterOf(request), {list.back().camera_id()}));
  }
  for (v1::Camera& camera : list) *response.add_cameras() = std::move(camera);
  return absl::OkStatus();
}

}  // namespace

// Bytes of pictures one call holds, counted against all calls'.
class AggregatorServiceImpl::HeldBytes {
 public:
  explicit HeldBytes(std::atomic<size_t>& total) : total_(total) {}
  ~HeldBytes() { total_.fetch_sub(held_); }
  HeldBytes(const HeldBytes&) = delete;
  HeldBytes& operator=(const HeldBytes&) = delete;

  // False: more than `limit` in all.
  bool Hold(size_t bytes, size_t limit) {
    const size_t more = bytes - held_;
    held_ = bytes;
    return total_.fetch_add(more) + more <= limit;
  }

 private:
  std::atomic<size_t>& total_;
  size_t held_ = 0;
};

// One call: reads until the client is done, then records. It deletes itself
// when gRPC is done with it.
class AggregatorServiceImpl::AddBatchResultCall final
    : public grpc::ServerReadReactor<v1::AddBatchResultRequest> {
 public:
  AddBatchResultCall(AggregatorServiceImpl& service,
                     grpc::CallbackServerContext* context,
                     v1::AddBatchResultResponse* response)
      : service_(service),
        context_(context),
        response_(response),
        assembler_(service.options_.max_batch_bytes),
        held_(service.inflight_bytes_) {
    StartRead(&request_);
  }

  void OnReadDone(bool ok) override {
    if (!ok) return Complete();
    absl::Status status = assembler_.Add(std::move(request_));
    if (status.ok() &&
        !held_.Hold(assembler_.bytes(), service_.options_.max_inflight_bytes)) {
      status = service_.Busy("too many pictures are on their way");
    }
    if (!status.ok()) return Refuse(status);
    request_.Clear();
    StartRead(&request_);
  }

  void OnDone() override { delete this; }

 private:
  void Refuse(const absl::Status& status) {
    service_.recorder_.Refused(status);
    Finish(ToGrpcStatus(status, context_));
  }

  void Complete() {
    if (context_->IsCancelled()) return Finish(grpc::Status::CANCELLED);
    absl::StatusOr<CompleteBatch> batch = assembler_.Finish();
    if (!batch.ok()) return Refuse(batch.status());
    const bool taken =
        service_.calls_.TryRun([this, complete = *std::move(batch)]() mutable {
          service_.recorder_.Record(
              std::move(complete),
              [this](const absl::StatusOr<AppendResult>& result) {
                Answer(result);
              });
        });
    if (!taken) Refuse(service_.Busy("too many batches wait"));
  }

  void Answer(const absl::StatusOr<AppendResult>& result) {
    if (result.ok()) {
      response_->set_record_id(result->record_id);
      response_->set_already_recorded(result->already_recorded);
    }
    Finish(ToGrpcStatus(result.status(), context_));
  }

  AggregatorServiceImpl& service_;
  grpc::CallbackServerContext* const context_;
  v1::AddBatchResultResponse* const response_;
  v1::AddBatchResultRequest request_;
  BatchAssembler assembler_;
  HeldBytes held_;
};

class AggregatorServiceImpl::RenderGridCall final
    : public grpc::ServerReadReactor<v1::RenderGridRequest> {
 public:
  RenderGridCall(AggregatorServiceImpl& service,
                 grpc::CallbackServerContext* context,
                 v1::RenderGridResponse* response)
      : service_(service),
        context_(context),
        response_(response),
        held_(service.inflight_bytes_) {
    StartRead(&request_);
  }

  void OnReadDone(bool ok) override {
    if (!ok) return Complete();
    const absl::Status status = Add();
    if (!status.ok()) return Finish(ToGrpcStatus(status, context_));
    request_.Clear();
    StartRead(&request_);
  }

  void OnDone() override { delete this; }

 private:
  absl::Status Add() {
    switch (request_.part_case()) {
      case v1::RenderGridRequest::kHeader:
        if (header_.has_value()) {
          return absl::InvalidArgumentError(
              "header must be sent once, got a second one");
        }
        CAMHERD_RETURN_IF_ERROR(GridArchive::CheckHeader(request_.header()));
        header_ = request_.header();
        return absl::OkStatus();
      case v1::RenderGridRequest::kFrame:
        if (!header_.has_value()) {
          return absl::InvalidArgumentError(
              "header must be the first message, got a frame");
        }
        if (frames_.size() >= kGridCells) {
          return absl::InvalidArgumentError(
              absl::StrCat("frames must number 1..", kGridCells, ", got more"));
        }
        bytes_ += request_.frame().jpeg().size();
        if (bytes_ > service_.options_.max_batch_bytes) {
          return absl::ResourceExhaustedError(absl::StrCat(
              "frames of a grid must have at most ",
              service_.options_.max_batch_bytes, " bytes, got ", bytes_));
        }
        if (!held_.Hold(bytes_, service_.options_.max_inflight_bytes)) {
          return service_.Busy("too many pictures are on their way");
        }
        CAMHERD_RETURN_IF_ERROR(GridArchive::CheckFrame(request_.frame()));
        frames_.push_back(std::move(*request_.mutable_frame()));
        return absl::OkStatus();
      default:
        return absl::InvalidArgumentError(
            "part must be header or frame, got neither");
    }
  }

  void Complete() {
    if (context_->IsCancelled()) return Finish(grpc::Status::CANCELLED);
    if (!header_.has_value()) {
      return Finish(ToGrpcStatus(
          absl::InvalidArgumentError("header is missing"), context_));
    }
    const bool taken = service_.calls_.TryRun([this] {
      absl::StatusOr<v1::RenderGridResponse> rendered =
          service_.grids_.Render(*header_, std::move(frames_));
      if (rendered.ok()) *response_ = *std::move(rendered);
      Finish(ToGrpcStatus(rendered.status(), context_));
    });
    if (!taken) {
      Finish(ToGrpcStatus(service_.Busy("too many requests wait"), context_));
    }
  }

  AggregatorServiceImpl& service_;
  grpc::CallbackServerContext* const context_;
  v1::RenderGridResponse* const response_;
  v1::RenderGridRequest request_;
  std::optional<v1::RenderGridHeader> header_;
  std::vector<v1::Frame> frames_;
  size_t bytes_ = 0;
  HeldBytes held_;
};

// One call: the next piece is read when the one before it has been taken. A
// reader that takes none, as one that hangs does, keeps others out, so it is
// watched by an alarm, which goes with the call or shortly after.
class AggregatorServiceImpl::ExportCall final
    : public grpc::ServerWriteReactor<v1::ExportRecordsResponse> {
 public:
  ExportCall(AggregatorServiceImpl& service,
             grpc::CallbackServerContext* context,
             const v1::ExportRecordsRequest& request)
      : service_(service), context_(context) {
    {
      absl::MutexLock lock(&mu_);
      SetAlarm();
    }
    if (service_.exports_.fetch_add(1) >= service_.options_.max_exports) {
      Finish(ToGrpcStatus(service_.Busy("too many exports run"), context_));
      return;
    }
    const absl::Status status = Begin(request);
    if (status.ok()) {
      Go();
    } else {
      Finish(ToGrpcStatus(status, context_));
    }
  }

  void OnWriteDone(bool ok) override {
    ++pieces_taken_;
    ok ? Go() : Finish(grpc::Status::CANCELLED);
  }

  void OnDone() override {
    --service_.exports_;
    absl::MutexLock lock(&mu_);
    done_ = true;
    // OnAlarm is called once more, and deletes this.
    alarm_.Cancel();
  }

 private:
  void SetAlarm() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    const auto stall = gpr_time_from_millis(
        absl::ToInt64Milliseconds(service_.options_.export_stall),
        GPR_TIMESPAN);
    alarm_.Set(gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), stall),
               [this](bool) { OnAlarm(); });
  }

  void OnAlarm() {
    {
      absl::MutexLock lock(&mu_);
      if (!done_) {
        const int64_t taken = pieces_taken_;
        if (taken == taken_before_) {
          LogWarning("export ended, its reader takes nothing",
                     {{"peer", context_->peer()}, {"pieces", taken}});
          context_->TryCancel();
        }
        taken_before_ = taken;
        SetAlarm();
        return;
      }
    }
    delete this;
  }

  absl::Status Begin(const v1::ExportRecordsRequest& request) {
    v1::ListRecordsRequest fields;
    fields.set_camera_id(request.camera_id());
    *fields.mutable_camera_ids() = request.camera_ids();
    if (request.has_since()) *fields.mutable_since() = request.since();
    if (request.has_until()) *fields.mutable_until() = request.until();
    RecordExport::Options options{.format = request.format(),
                                  .line = service_.options_.line};
    CAMHERD_ASSIGN_OR_RETURN(options.filter, MakeFilter(fields));
    CAMHERD_ASSIGN_OR_RETURN(auto records,
                             RecordExport::Create(options, service_.store_));
    records_.emplace(std::move(records));
    return absl::OkStatus();
  }

  void Go() {
    absl::StatusOr<std::string> piece = records_->Next();
    if (!piece.ok() || piece->empty()) {
      return Finish(ToGrpcStatus(piece.status(), context_));
    }
    response_.set_chunk(*std::move(piece));
    StartWrite(&response_);
  }

  AggregatorServiceImpl& service_;
  grpc::CallbackServerContext* const context_;
  std::optional<RecordExport> records_;
  v1::ExportRecordsResponse response_;
  std::atomic<int64_t> pieces_taken_{0};

  absl::Mutex mu_;
  bool done_ ABSL_GUARDED_BY(mu_) = false;
  int64_t taken_before_ ABSL_GUARDED_BY(mu_) = -1;
  grpc::Alarm alarm_ ABSL_GUARDED_BY(mu_);
};

// One call: the next piece is read when the one before it has been taken, on
// the thread of imports_.
class AggregatorServiceImpl::ImportCall final
    : public grpc::ServerReadReactor<v1::ImportRecordsRequest> {
 public:
  ImportCall(AggregatorServiceImpl& service,
             grpc::CallbackServerContext* context,
             v1::ImportRecordsResponse* response)
      : service_(service), context_(context), response_(response) {
    if (service_.importing_.exchange(true)) {
      Finish(ToGrpcStatus(service_.Busy("an import runs already"), context_));
      return;
    }
    import_.emplace(
        RecordImport::Options{.timezone = service_.options_.line.timezone},
        [&service](NewRecord record, RecordStore::AppendDone done) {
          service.recorder_.Import(std::move(record), std::move(done));
        });
    StartRead(&request_);
  }

  void OnReadDone(bool ok) override {
    const bool taken =
        service_.imports_.TryRun([this, ok] { ok ? Take() : End(); });
    if (!taken) {
      EndWith(ToGrpcStatus(service_.Busy("too many imports wait"), context_));
    }
  }

  void OnDone() override { delete this; }

 private:
  void Take() {
    absl::Status status;
    if (request_.chunk().size() > kMaxChunkBytes) {
      status = absl::InvalidArgumentError(
          absl::StrCat("chunk must have at most ", kMaxChunkBytes,
                       " bytes, got ", request_.chunk().size()));
    } else {
      status = import_->Add(request_.chunk());
    }
    if (!status.ok()) return EndWith(ToGrpcStatus(status, context_));
    StartRead(&request_);
  }

  // Waits for what was given to the store, here rather than in OnDone. Who has
  // its answer can begin the next.
  void EndWith(const grpc::Status& status) {
    import_.reset();
    service_.importing_ = false;
    Finish(status);
  }

  void End() {
    // The rest of a file whose sender is gone is not its end.
    if (context_->IsCancelled()) return EndWith(grpc::Status::CANCELLED);
    absl::StatusOr<v1::ImportRecordsResponse> result = import_->Finish();
    if (result.ok()) {
      LogInfo("records imported", {{"imported", result->imported()},
                                   {"present", result->already_present()},
                                   {"failed", result->failed()}});
      *response_ = *std::move(result);
    }
    EndWith(ToGrpcStatus(result.status(), context_));
  }

  AggregatorServiceImpl& service_;
  grpc::CallbackServerContext* const context_;
  v1::ImportRecordsResponse* const response_;
  v1::ImportRecordsRequest request_;
  std::optional<RecordImport> import_;
};

AggregatorServiceImpl::AggregatorServiceImpl(
    const Options& options, BatchRecorder& recorder, RecordStore& store,
    CameraDirectory& cameras, GridArchive& grids, WorkerPool& calls)
    : options_(options),
      recorder_(recorder),
      store_(store),
      cameras_(cameras),
      grids_(grids),
      feed_(std::make_shared<RecordFeed>(store)),
      calls_(calls) {
  recorder_.OnRecorded([feed = feed_] { feed->Wake(); });
}

absl::Status AggregatorServiceImpl::Busy(absl::string_view what) const {
  return WithRetryDelay(absl::ResourceExhaustedError(what),
                        options_.retry_delay);
}

template <typename Work>
grpc::ServerUnaryReactor* AggregatorServiceImpl::RunUnary(
    grpc::CallbackServerContext* context, Work work) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  const bool taken =
      calls_.TryRun([context, reactor, work = std::move(work)]() mutable {
        reactor->Finish(ToGrpcStatus(work(), context));
      });
  if (!taken) {
    reactor->Finish(ToGrpcStatus(Busy("too many requests wait"), context));
  }
  return reactor;
}

grpc::ServerReadReactor<v1::AddBatchResultRequest>*
AggregatorServiceImpl::AddBatchResult(grpc::CallbackServerContext* context,
                                      v1::AddBatchResultResponse* response) {
  return new AddBatchResultCall(*this, context, response);
}

grpc::ServerReadReactor<v1::RenderGridRequest>*
AggregatorServiceImpl::RenderGrid(grpc::CallbackServerContext* context,
                                  v1::RenderGridResponse* response) {
  return new RenderGridCall(*this, context, response);
}

grpc::ServerUnaryReactor* AggregatorServiceImpl::ListGrids(
    grpc::CallbackServerContext* context, const v1::ListGridsRequest* request,
    v1::ListGridsResponse* response) {
  return RunUnary(context, [this, request, response] {
    return DoListGrids(store_, *request, *response);
  });
}

grpc::ServerUnaryReactor* AggregatorServiceImpl::ListRecords(
    grpc::CallbackServerContext* context, const v1::ListRecordsRequest* request,
    v1::ListRecordsResponse* response) {
  return RunUnary(context, [this, request, response] {
    return DoListRecords(store_, *request, *response);
  });
}

grpc::ServerUnaryReactor* AggregatorServiceImpl::GetRecord(
    grpc::CallbackServerContext* context, const v1::GetRecordRequest* request,
    v1::Record* response) {
  return RunUnary(context, [this, request, response]() -> absl::Status {
    CAMHERD_RETURN_IF_ERROR(CheckRecordId(request->record_id()));
    CAMHERD_ASSIGN_OR_RETURN(StoredRecord stored,
                             store_.GetRecord(request->record_id()));
    *response = std::move(stored.record);
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* AggregatorServiceImpl::GetRecordImage(
    grpc::CallbackServerContext* context,
    const v1::GetRecordImageRequest* request,
    v1::GetRecordImageResponse* response) {
  return RunUnary(context, [this, request, response] {
    return DoGetRecordImage(store_, *request, *response);
  });
}

grpc::ServerWriteReactor<v1::WatchRecordsResponse>*
AggregatorServiceImpl::WatchRecords(grpc::CallbackServerContext* context,
                                    const v1::WatchRecordsRequest* request) {
  return GrpcWatch<v1::WatchRecordsResponse>::Start(
      context, feed_->ring(), *request,
      [camera_id =
           request->camera_id()](const v1::WatchRecordsResponse& event) {
        return camera_id.empty() || event.record().camera_id() == camera_id;
      });
}

grpc::ServerWriteReactor<v1::ExportRecordsResponse>*
AggregatorServiceImpl::ExportRecords(grpc::CallbackServerContext* context,
                                     const v1::ExportRecordsRequest* request) {
  return new ExportCall(*this, context, *request);
}

grpc::ServerReadReactor<v1::ImportRecordsRequest>*
AggregatorServiceImpl::ImportRecords(grpc::CallbackServerContext* context,
                                     v1::ImportRecordsResponse* response) {
  return new ImportCall(*this, context, response);
}

grpc::ServerUnaryReactor* AggregatorServiceImpl::GetCamera(
    grpc::CallbackServerContext* context, const v1::GetCameraRequest* request,
    v1::Camera* response) {
  return RunUnary(context, [this, request, response]() -> absl::Status {
    CAMHERD_RETURN_IF_ERROR(CheckId("camera_id", request->camera_id()));
    std::optional<v1::Camera> camera = cameras_.Find(request->camera_id());
    if (!camera.has_value()) {
      return absl::NotFoundError(
          absl::StrCat("there is no camera ", request->camera_id()));
    }
    *response = *std::move(camera);
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* AggregatorServiceImpl::ListCameras(
    grpc::CallbackServerContext* context, const v1::ListCamerasRequest* request,
    v1::ListCamerasResponse* response) {
  return RunUnary(context, [this, request, response] {
    return DoListCameras(cameras_, *request, *response);
  });
}

grpc::ServerUnaryReactor* AggregatorServiceImpl::UpsertCamera(
    grpc::CallbackServerContext* context,
    const v1::UpsertCameraRequest* request, v1::Camera* response) {
  return RunUnary(context, [this, request, response]() -> absl::Status {
    CAMHERD_ASSIGN_OR_RETURN(*response, cameras_.Upsert(request->camera()));
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* AggregatorServiceImpl::ImportCameras(
    grpc::CallbackServerContext* context,
    const v1::ImportCamerasRequest* request,
    v1::ImportCamerasResponse* response) {
  return RunUnary(context, [this, request, response]() -> absl::Status {
    CAMHERD_ASSIGN_OR_RETURN(*response, cameras_.Import(request->csv()));
    return absl::OkStatus();
  });
}

}  // namespace camherd::aggregator
