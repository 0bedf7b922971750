// SPDX-License-Identifier: Apache-2.0
#include "gateway/backend_clients.h"

#include <grpcpp/client_context.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/support/byte_buffer.h>

#include <algorithm>
#include <array>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "camherd/v1/aggregator_service.grpc.pb.h"
#include "camherd/v1/capture_service.grpc.pb.h"
#include "camherd/v1/inference_service.grpc.pb.h"
#include "services/common/grpc_caller.h"
#include "services/common/grpc_client.h"
#include "services/common/grpc_server.h"
#include "services/common/grpc_status.h"
#include "services/common/grpc_trace.h"
#include "services/common/status_macros.h"

namespace camherd::gateway {
namespace {

// Of lists, where the caller names none, and at most.
constexpr int kDefaultPage = 100;
constexpr int kMaxPage = 1000;

constexpr char kHealthMethod[] = "/grpc.health.v1.Health/Check";

// gRPC's own words for a peer that is not there, instead of a sentence of a
// service.
bool IsTransportError(absl::string_view message) {
  for (const absl::string_view text :
       {"failed to connect to all addresses", "Socket closed",
        "Connection reset", "connections to all backends failing",
        "DNS resolution failed", "empty address list", "Broken pipe", "recvmsg",
        "Connection refused", "GOAWAY"}) {
    if (absl::StrContains(message, text)) return true;
  }
  return false;
}

absl::Status Translate(const grpc::Status& status,
                       const grpc::ClientContext& context,
                       absl::string_view service, absl::Duration timeout) {
  absl::Status result = FromGrpcStatus(status, &context);
  if (absl::IsUnavailable(result) && IsTransportError(result.message())) {
    return absl::UnavailableError(
        absl::StrCat("the ", service, " service cannot be reached"));
  }
  // Nothing that the gateway's own caller could mend.
  if (absl::IsUnauthenticated(result)) {
    return absl::UnavailableError(absl::StrCat(
        "the ", service, " service does not take this gateway's grpc.token"));
  }
  if (absl::IsDeadlineExceeded(result)) {
    return absl::DeadlineExceededError(
        absl::StrCat("the ", service, " service did not answer within ",
                     absl::FormatDuration(timeout)));
  }
  return result;
}

// The status field of grpc.health.v1.HealthCheckResponse, read from its bytes
// since Debian ships no stub for it: `08 01` is SERVING.
bool IsServing(const grpc::ByteBuffer& buffer) {
  std::vector<grpc::Slice> slices;
  if (!buffer.Dump(&slices).ok()) return false;
  std::string bytes;
  for (const grpc::Slice& slice : slices) {
    bytes.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  }
  return bytes == absl::string_view("\x08\x01", 2);
}

// `: ` and why, where the answer of the health service says it.
std::string NotServingReason(const grpc::ClientContext& context) {
  const auto& metadata = context.GetServerTrailingMetadata();
  const auto it = metadata.find(kNotServingReason);
  if (it == metadata.end()) return "";
  return absl::StrCat(": ",
                      absl::string_view(it->second.data(), it->second.size()));
}

}  // namespace

class BackendClients::Impl {
 public:
  explicit Impl(const Options& options)
      : Impl(std::make_shared<Shared>(options), Caller()) {}

  std::unique_ptr<Impl> As(const Caller& caller) const {
    return std::unique_ptr<Impl>(new Impl(shared_, caller));
  }

  template <typename Response, typename Stub, typename Request>
  absl::StatusOr<Response> Call(
      absl::string_view service, Stub& stub,
      grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&,
                                   Response*),
      const Request& request, absl::Duration timeout) {
    grpc::ClientContext context;
    SetDeadline(context, timeout);
    Active active(*this, context);
    Response response;
    const grpc::Status status = (stub.*method)(&context, request, &response);
    if (status.ok()) return response;
    return Translate(status, context, service, timeout);
  }

  template <typename Response, typename Request>
  absl::StatusOr<Response> Capture(
      grpc::Status (v1::CaptureService::Stub::*method)(grpc::ClientContext*,
                                                       const Request&,
                                                       Response*),
      const Request& request, absl::Duration timeout) {
    return Call("capture", *capture_, method, request, timeout);
  }
  template <typename Response, typename Request>
  absl::StatusOr<Response> Inference(
      grpc::Status (v1::InferenceService::Stub::*method)(grpc::ClientContext*,
                                                         const Request&,
                                                         Response*),
      const Request& request, absl::Duration timeout) {
    return Call("inference", *inference_, method, request, timeout);
  }
  template <typename Response, typename Request>
  absl::StatusOr<Response> Aggregator(
      grpc::Status (v1::AggregatorService::Stub::*method)(grpc::ClientContext*,
                                                          const Request&,
                                                          Response*),
      const Request& request, absl::Duration timeout) {
    return Call("aggregator", *aggregator_, method, request, timeout);
  }

  // A call about one stream, which its request names in `stream`.
  template <typename Response, typename Request>
  absl::StatusOr<Response> OnStream(
      grpc::Status (v1::CaptureService::Stub::*method)(grpc::ClientContext*,
                                                       const Request&,
                                                       Response*),
      const Request& request, absl::Duration timeout) {
    if (!caller_.limited()) return Capture(method, request, timeout);
    Request own = request;
    v1::GetStreamRequest get;
    get.set_stream(request.stream());
    absl::StatusOr<v1::Stream> stream =
        Capture(&v1::CaptureService::Stub::GetStream, get, options_.timeout);
    if (absl::IsNotFound(stream.status()) ||
        (stream.ok() && !caller_.MaySee(stream->camera_id()))) {
      return UnknownStream(request.stream());
    }
    if (!stream.ok()) return stream.status();
    // The one that was looked at: names are given to others.
    own.set_stream(stream->stream_id());
    absl::StatusOr<Response> response = Capture(method, own, timeout);
    // It names what runs.
    if (absl::IsNotFound(response.status()) &&
        absl::StrContains(response.status().message(), "running: [")) {
      return UnknownStream(request.stream());
    }
    return response;
  }

  absl::StatusOr<v1::ListStreamsResponse> ListStreams(
      v1::ListStreamsRequest request) {
    if (!caller_.limited()) {
      return Capture(&v1::CaptureService::Stub::ListStreams, request,
                     options_.timeout);
    }
    if (!request.camera_id().empty() && !caller_.MaySee(request.camera_id())) {
      return v1::ListStreamsResponse();
    }
    if (caller_.cameras.size() == 1) {
      request.set_camera_id(caller_.cameras.front());
    }
    return OwnPage<v1::ListStreamsResponse>(
        request,
        [this](const v1::ListStreamsRequest& list) {
          return Capture(&v1::CaptureService::Stub::ListStreams, list,
                         options_.timeout);
        },
        &v1::ListStreamsResponse::mutable_streams,
        [this](const v1::Stream& stream) {
          return caller_.MaySee(stream.camera_id());
        });
  }

  absl::StatusOr<v1::ListCamerasResponse> ListCameras(
      const v1::ListCamerasRequest& request) {
    return OwnPage<v1::ListCamerasResponse>(
        request,
        [this](const v1::ListCamerasRequest& list) {
          return Aggregator(&v1::AggregatorService::Stub::ListCameras, list,
                            options_.timeout);
        },
        &v1::ListCamerasResponse::mutable_cameras,
        [this](const v1::Camera& camera) {
          return caller_.MaySee(camera.camera_id());
        });
  }

  // A grid is known by its session.
  absl::StatusOr<v1::ListGridsResponse> ListGrids(
      const v1::ListGridsRequest& request) {
    absl::flat_hash_set<std::string> sessions;
    if (caller_.limited()) {
      v1::ListStreamsRequest list;
      list.set_page_size(1000);
      do {
        CAMHERD_ASSIGN_OR_RETURN(const v1::ListStreamsResponse listed,
                                 ListStreams(list));
        for (const v1::Stream& stream : listed.streams()) {
          sessions.insert(stream.session_id());
        }
        list.set_page_token(listed.next_page_token());
      } while (!list.page_token().empty());
    }
    return OwnPage<v1::ListGridsResponse>(
        request,
        [this](const v1::ListGridsRequest& list) {
          return Aggregator(&v1::AggregatorService::Stub::ListGrids, list,
                            options_.timeout);
        },
        &v1::ListGridsResponse::mutable_grids,
        [&sessions](const v1::Grid& grid) {
          return sessions.contains(grid.session_id());
        });
  }

  absl::StatusOr<v1::Record> GetRecord(const v1::GetRecordRequest& request) {
    absl::StatusOr<v1::Record> record = Aggregator(
        &v1::AggregatorService::Stub::GetRecord, request, options_.timeout);
    if (caller_.limited() &&
        (absl::IsNotFound(record.status()) ||
         (record.ok() && !caller_.MaySee(record->camera_id())))) {
      return absl::NotFoundError(
          absl::StrCat("there is no record ", request.record_id()));
    }
    return record;
  }

  // Adds the caller's cameras to the filters of a list of records.
  template <typename Request>
  void Narrow(Request* request) const {
    if (!caller_.limited()) return;
    std::vector<std::string> own;
    for (const std::string& camera : caller_.cameras) {
      if (request->camera_ids().empty() ||
          std::count(request->camera_ids().begin(), request->camera_ids().end(),
                     camera) > 0) {
        own.push_back(camera);
      }
    }
    if (own.empty()) {
      // No camera is both another's and this one.
      request->set_camera_id(caller_.cameras.front());
      return;
    }
    *request->mutable_camera_ids() = {own.begin(), own.end()};
  }

  const Caller& caller() const { return caller_; }

  absl::StatusOr<v1::Model> Prepare(const v1::PrepareModelRequest& request) {
    grpc::ClientContext context;
    SetDeadline(context, options_.timeout);
    Active active(*this, context);
    const auto reader = inference_->PrepareModel(&context, request);
    v1::PrepareModelResponse first;
    if (reader->Read(&first)) {
      context.TryCancel();
      (void)reader->Finish();
      return std::move(*first.mutable_model());
    }
    const grpc::Status status = reader->Finish();
    if (status.ok()) {
      return absl::InternalError("PrepareModel answered nothing");
    }
    return Translate(status, context, "inference", options_.timeout);
  }

  absl::StatusOr<std::vector<v1::ProbeSourceResponse>> Probe(
      const v1::ProbeSourceRequest& request) {
    grpc::ClientContext context;
    SetDeadline(context, options_.probe_timeout);
    Active active(*this, context);
    const auto reader = capture_->ProbeSource(&context, request);
    std::vector<v1::ProbeSourceResponse> steps;
    v1::ProbeSourceResponse step;
    while (reader->Read(&step)) steps.push_back(step);
    const grpc::Status status = reader->Finish();
    if (status.ok()) return steps;
    return Translate(status, context, "capture", options_.probe_timeout);
  }

  absl::StatusOr<PieceReader> Export(const v1::ExportRecordsRequest& request) {
    // shared_ptr since std::function wants to be copyable.
    auto call = std::make_shared<ExportCall>(*this, request);
    CAMHERD_RETURN_IF_ERROR(call->ReadFirst());
    return [call] { return call->Next(); };
  }

  template <typename Answer, typename Stub, typename Request>
  absl::Status Watch(absl::string_view service, Stub& stub,
                     std::unique_ptr<grpc::ClientReader<Answer>> (
                         Stub::*method)(grpc::ClientContext*, const Request&),
                     const Request& request, const TakeFn<Answer>& take) {
    grpc::ClientContext context;
    SetDeadline(context, options_.stream_timeout);
    Active active(*this, context);
    const auto reader = (stub.*method)(&context, request);
    Answer answer;
    while (reader->Read(&answer)) take(answer);
    return Translate(reader->Finish(), context, service,
                     options_.stream_timeout);
  }
  absl::Status WatchStreams(const v1::WatchStreamsRequest& request,
                            const TakeFn<v1::WatchStreamsResponse>& take) {
    return Watch("capture", *capture_, &v1::CaptureService::Stub::WatchStreams,
                 request, take);
  }
  absl::Status WatchRecords(const v1::WatchRecordsRequest& request,
                            const TakeFn<v1::WatchRecordsResponse>& take) {
    return Watch("aggregator", *aggregator_,
                 &v1::AggregatorService::Stub::WatchRecords, request, take);
  }
  absl::Status WatchModels(const v1::WatchModelsRequest& request,
                           const TakeFn<v1::WatchModelsResponse>& take) {
    return Watch("inference", *inference_,
                 &v1::InferenceService::Stub::WatchModels, request, take);
  }

  Health CheckHealth() {
    struct Check {
      grpc::ClientContext context;
      grpc::ByteBuffer request;
      grpc::ByteBuffer response;
      grpc::Status status;
      absl::Notification done;
    };
    static constexpr std::array<const char*, 3> kNames = {
        "capture", "inference", "aggregator"};
    std::array<Check, 3> checks;
    std::vector<std::unique_ptr<Active>> active;
    std::vector<grpc::GenericStub> stubs;
    for (const auto& channel : shared_->channels) stubs.emplace_back(channel);
    for (size_t i = 0; i < checks.size(); ++i) {
      Check& check = checks[i];
      SetDeadline(check.context, options_.health_timeout);
      active.push_back(std::make_unique<Active>(*this, check.context));
      // An empty message: the health of the whole server.
      const grpc::Slice empty;
      check.request = grpc::ByteBuffer(&empty, 1);
      stubs[i].UnaryCall(&check.context, kHealthMethod, grpc::StubOptions(),
                         &check.request, &check.response,
                         [&check](grpc::Status status) {
                           check.status = std::move(status);
                           check.done.Notify();
                         });
    }
    std::array<absl::Status, 3> result;
    for (size_t i = 0; i < checks.size(); ++i) {
      checks[i].done.WaitForNotification();
      if (!checks[i].status.ok()) {
        result[i] = Translate(checks[i].status, checks[i].context, kNames[i],
                              options_.health_timeout);
      } else if (!IsServing(checks[i].response)) {
        result[i] = absl::UnavailableError(
            absl::StrCat("the ", kNames[i], " service is not serving",
                         NotServingReason(checks[i].context)));
      }
    }
    return {
        .capture = result[0], .inference = result[1], .aggregator = result[2]};
  }

  void Cancel() {
    absl::MutexLock lock(&shared_->mu);
    shared_->cancelled = true;
    for (grpc::ClientContext* context : shared_->active) context->TryCancel();
  }

  const Options& options() const { return options_; }

 private:
  // What the clients of all callers share.
  struct Shared {
    explicit Shared(const Options& options)
        : options(options),
          channels{MakeChannel(options.capture, options.security),
                   MakeChannel(options.inference, options.security),
                   MakeChannel(options.aggregator, options.security)},
          capture(v1::CaptureService::NewStub(channels[0])),
          inference(v1::InferenceService::NewStub(channels[1])),
          aggregator(v1::AggregatorService::NewStub(channels[2])) {}

    const Options options;
    // shared_ptr is gRPC's interface. In the order capture, inference,
    // aggregator.
    const std::array<std::shared_ptr<grpc::Channel>, 3> channels;
    const std::unique_ptr<v1::CaptureService::Stub> capture;
    const std::unique_ptr<v1::InferenceService::Stub> inference;
    const std::unique_ptr<v1::AggregatorService::Stub> aggregator;

    absl::Mutex mu;
    bool cancelled ABSL_GUARDED_BY(mu) = false;
    absl::flat_hash_set<grpc::ClientContext*> active ABSL_GUARDED_BY(mu);
  };

  Impl(std::shared_ptr<Shared> shared, Caller caller)
      : shared_(std::move(shared)), caller_(std::move(caller)) {}

  // Begins a call: the service is told who makes it and of which trace it is,
  // and Cancel() knows it while it lasts.
  class Active {
   public:
    Active(Impl& impl, grpc::ClientContext& context)
        : shared_(*impl.shared_), context_(context) {
      AddCallerMetadata({.name = impl.caller_.name,
                         .role = RoleName(impl.caller_.role),
                         .address = impl.caller_.address},
                        context_);
      AddTraceMetadata(context_);
      absl::MutexLock lock(&shared_.mu);
      if (shared_.cancelled) context_.TryCancel();
      shared_.active.insert(&context_);
    }
    ~Active() {
      absl::MutexLock lock(&shared_.mu);
      shared_.active.erase(&context_);
    }
    Active(const Active&) = delete;
    Active& operator=(const Active&) = delete;

   private:
    Shared& shared_;
    grpc::ClientContext& context_;
  };

  static absl::Status UnknownStream(absl::string_view name) {
    return absl::NotFoundError(
        absl::StrCat("stream \"", name, "\" is not known"));
  }

  // A page of a list without what is another's, as long as one of the service,
  // or the last. A service's token names the last item of its page, so a page
  // that others follow ends with one of the caller's own.
  template <typename Response, typename Request, typename List, typename Item,
            typename IsOwn>
  absl::StatusOr<Response> OwnPage(
      Request request, const List& list,
      google::protobuf::RepeatedPtrField<Item>* (Response::*items_of)(),
      const IsOwn& is_own) const {
    if (!caller_.limited()) return list(request);
    Response own_page;
    int wanted = request.page_size() == 0 ? kDefaultPage : request.page_size();
    while (true) {
      CAMHERD_ASSIGN_OR_RETURN(Response page, list(request));
      auto& items = *(page.*items_of)();
      int own = 0;
      int own_end = 0;
      for (int i = 0; i < items.size() && own <= wanted; ++i) {
        if (is_own(items.Get(i)) && ++own <= wanted) own_end = i + 1;
      }
      const bool is_last = page.next_page_token().empty() && own <= wanted;
      if (is_last || (own_end > 0 && own_end == items.size())) {
        items.erase(std::remove_if(
                        items.begin(), items.end(),
                        [&is_own](const Item& item) { return !is_own(item); }),
                    items.end());
        wanted -= items.size();
        own_page.MergeFrom(page);
        own_page.set_next_page_token(page.next_page_token());
        if (is_last || wanted == 0) return own_page;
        request.set_page_size(wanted);
        request.set_page_token(page.next_page_token());
      } else if (own_end == 0) {
        // What is another's is passed over in as few calls as can be.
        request.set_page_size(kMaxPage);
        request.set_page_token(page.next_page_token());
      } else {
        request.set_page_size(own_end);
      }
    }
  }

  // An ExportRecords under way; cancelled if it goes before its end.
  class ExportCall {
   public:
    ExportCall(Impl& impl, const v1::ExportRecordsRequest& request)
        : impl_(impl), active_(impl, context_) {
      SetDeadline(context_, impl_.options_.stream_timeout);
      reader_ = impl_.aggregator_->ExportRecords(&context_, request);
    }
    ~ExportCall() {
      if (ended_) return;
      context_.TryCancel();
      (void)reader_->Finish();
    }

    absl::Status ReadFirst() {
      CAMHERD_ASSIGN_OR_RETURN(first_, Read());
      return absl::OkStatus();
    }
    absl::StatusOr<std::string> Next() {
      if (!first_.empty()) return std::exchange(first_, std::string());
      return Read();
    }

   private:
    // "" at the end.
    absl::StatusOr<std::string> Read() {
      v1::ExportRecordsResponse response;
      while (!ended_ && reader_->Read(&response)) {
        if (!response.chunk().empty()) {
          return std::move(*response.mutable_chunk());
        }
      }
      if (ended_) return std::string();
      ended_ = true;
      const grpc::Status status = reader_->Finish();
      if (status.ok()) return std::string();
      return Translate(status, context_, "aggregator",
                       impl_.options_.stream_timeout);
    }

    Impl& impl_;
    grpc::ClientContext context_;
    Active active_;
    std::unique_ptr<grpc::ClientReader<v1::ExportRecordsResponse>> reader_;
    std::string first_;
    bool ended_ = false;
  };

  // shared_ptr: the clients of a caller may outlive those that made them.
  const std::shared_ptr<Shared> shared_;
  const Caller caller_;
  const Options& options_ = shared_->options;
  const std::unique_ptr<v1::CaptureService::Stub>& capture_ = shared_->capture;
  const std::unique_ptr<v1::InferenceService::Stub>& inference_ =
      shared_->inference;
  const std::unique_ptr<v1::AggregatorService::Stub>& aggregator_ =
      shared_->aggregator;
};

BackendClients::BackendClients(const Options& options)
    : impl_(std::make_unique<Impl>(options)) {}
BackendClients::BackendClients(std::unique_ptr<Impl> impl)
    : impl_(std::move(impl)) {}
BackendClients::~BackendClients() = default;
BackendClients::BackendClients(BackendClients&&) noexcept = default;

BackendClients BackendClients::As(const Caller& caller) const {
  return BackendClients(impl_->As(caller));
}

absl::StatusOr<v1::StartStreamResponse> BackendClients::StartStream(
    const v1::StartStreamRequest& request) {
  if (!impl_->caller().MaySee(request.camera_id())) {
    return absl::PermissionDeniedError(
        "the token is for certain cameras only: camera_id must be one of them");
  }
  return impl_->Capture(&v1::CaptureService::Stub::StartStream, request,
                        impl_->options().start_timeout);
}
absl::StatusOr<v1::StopStreamResponse> BackendClients::StopStream(
    const v1::StopStreamRequest& request) {
  return impl_->OnStream(&v1::CaptureService::Stub::StopStream, request,
                         impl_->options().stop_timeout);
}
absl::StatusOr<v1::Stream> BackendClients::GetStream(
    const v1::GetStreamRequest& request) {
  return impl_->OnStream(&v1::CaptureService::Stub::GetStream, request,
                         impl_->options().timeout);
}
absl::StatusOr<v1::ListStreamsResponse> BackendClients::ListStreams(
    const v1::ListStreamsRequest& request) {
  return impl_->ListStreams(request);
}
absl::StatusOr<v1::Stream> BackendClients::UpdateStream(
    const v1::UpdateStreamRequest& request) {
  return impl_->OnStream(&v1::CaptureService::Stub::UpdateStream, request,
                         impl_->options().start_timeout);
}
absl::StatusOr<v1::DeleteStreamResponse> BackendClients::DeleteStream(
    const v1::DeleteStreamRequest& request) {
  return impl_->OnStream(&v1::CaptureService::Stub::DeleteStream, request,
                         impl_->options().stop_timeout);
}
absl::StatusOr<v1::GetLatestFrameResponse> BackendClients::GetLatestFrame(
    const v1::GetLatestFrameRequest& request) {
  return impl_->OnStream(&v1::CaptureService::Stub::GetLatestFrame, request,
                         impl_->options().timeout);
}
absl::StatusOr<v1::GetGridResponse> BackendClients::GetGrid(
    const v1::GetGridRequest& request) {
  return impl_->OnStream(&v1::CaptureService::Stub::GetGrid, request,
                         impl_->options().stop_timeout);
}
absl::StatusOr<std::vector<v1::ProbeSourceResponse>>
BackendClients::ProbeSource(const v1::ProbeSourceRequest& request) {
  return impl_->Probe(request);
}

absl::StatusOr<v1::ListModelsResponse> BackendClients::ListModels() {
  return impl_->Inference(&v1::InferenceService::Stub::ListModels,
                          v1::ListModelsRequest(), impl_->options().timeout);
}
absl::StatusOr<v1::Model> BackendClients::GetModel(
    const v1::GetModelRequest& request) {
  return impl_->Inference(&v1::InferenceService::Stub::GetModel, request,
                          impl_->options().timeout);
}
absl::StatusOr<v1::Model> BackendClients::PrepareModel(
    const v1::PrepareModelRequest& request) {
  return impl_->Prepare(request);
}
absl::StatusOr<v1::Model> BackendClients::UnloadModel(
    const v1::UnloadModelRequest& request) {
  return impl_->Inference(&v1::InferenceService::Stub::UnloadModel, request,
                          impl_->options().timeout);
}
absl::StatusOr<v1::DetectResponse> BackendClients::Detect(
    const v1::DetectRequest& request) {
  return impl_->Inference(&v1::InferenceService::Stub::Detect, request,
                          impl_->options().detect_timeout);
}

absl::StatusOr<v1::ListRecordsResponse> BackendClients::ListRecords(
    const v1::ListRecordsRequest& request) {
  v1::ListRecordsRequest own = request;
  impl_->Narrow(&own);
  return impl_->Aggregator(&v1::AggregatorService::Stub::ListRecords, own,
                           impl_->options().timeout);
}
absl::StatusOr<v1::Record> BackendClients::GetRecord(
    const v1::GetRecordRequest& request) {
  return impl_->GetRecord(request);
}
absl::StatusOr<v1::GetRecordImageResponse> BackendClients::GetRecordImage(
    const v1::GetRecordImageRequest& request) {
  if (impl_->caller().limited()) {
    v1::GetRecordRequest record;
    record.set_record_id(request.record_id());
    CAMHERD_RETURN_IF_ERROR(impl_->GetRecord(record).status());
  }
  return impl_->Aggregator(&v1::AggregatorService::Stub::GetRecordImage,
                           request, impl_->options().timeout);
}
absl::StatusOr<BackendClients::PieceReader> BackendClients::ExportRecords(
    const v1::ExportRecordsRequest& request) {
  v1::ExportRecordsRequest own = request;
  impl_->Narrow(&own);
  return impl_->Export(own);
}
absl::StatusOr<v1::ListGridsResponse> BackendClients::ListGrids(
    const v1::ListGridsRequest& request) {
  return impl_->ListGrids(request);
}
absl::StatusOr<v1::ListCamerasResponse> BackendClients::ListCameras(
    const v1::ListCamerasRequest& request) {
  return impl_->ListCameras(request);
}
absl::StatusOr<v1::Camera> BackendClients::GetCamera(
    const v1::GetCameraRequest& request) {
  if (!impl_->caller().MaySee(request.camera_id())) {
    return absl::NotFoundError(
        absl::StrCat("there is no camera ", request.camera_id()));
  }
  return impl_->Aggregator(&v1::AggregatorService::Stub::GetCamera, request,
                           impl_->options().timeout);
}
absl::StatusOr<v1::Camera> BackendClients::UpsertCamera(
    const v1::UpsertCameraRequest& request) {
  if (!impl_->caller().MaySee(request.camera().camera_id())) {
    return absl::PermissionDeniedError(
        "the token is for certain cameras only, and this is none of them");
  }
  return impl_->Aggregator(&v1::AggregatorService::Stub::UpsertCamera, request,
                           impl_->options().timeout);
}
absl::StatusOr<v1::ImportCamerasResponse> BackendClients::ImportCameras(
    const v1::ImportCamerasRequest& request) {
  return impl_->Aggregator(&v1::AggregatorService::Stub::ImportCameras, request,
                           impl_->options().detect_timeout);
}

absl::Status BackendClients::WatchStreams(
    const v1::WatchStreamsRequest& request,
    const TakeFn<v1::WatchStreamsResponse>& take) {
  return impl_->WatchStreams(request, take);
}
absl::Status BackendClients::WatchRecords(
    const v1::WatchRecordsRequest& request,
    const TakeFn<v1::WatchRecordsResponse>& take) {
  return impl_->WatchRecords(request, take);
}
absl::Status BackendClients::WatchModels(
    const v1::WatchModelsRequest& request,
    const TakeFn<v1::WatchModelsResponse>& take) {
  return impl_->WatchModels(request, take);
}

BackendClients::Health BackendClients::CheckHealth() {
  return impl_->CheckHealth();
}

void BackendClients::Cancel() { impl_->Cancel(); }

}  // namespace camherd::gateway
