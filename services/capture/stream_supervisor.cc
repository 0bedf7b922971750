// SPDX-License-Identifier: Apache-2.0
#include "services/capture/stream_supervisor.h"

#include <unistd.h>

#include <algorithm>
#include <climits>
#include <cmath>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "services/capture/jpeg_draw.h"
#include "services/capture/process_usage.h"
#include "services/capture/spool.h"
#include "services/capture/spool_layout.h"
#include "services/common/backoff.h"
#include "services/common/log.h"
#include "services/common/status_macros.h"
#include "services/common/time_proto.h"
#include "services/common/uuid.h"

namespace camherd::capture {
namespace {

constexpr int kMaxPage = 1000;
constexpr int kDefaultPage = 100;
constexpr size_t kNamesInMessage = 20;
// A stream that paused goes on when this share of its quota is free.
constexpr double kRoomToResume = 0.9;
constexpr absl::Duration kHousekeepingHangs = absl::Minutes(1);
constexpr char kSpoolFull[] = "spool_full";
constexpr char kDiskFull[] = "disk_full";

SpoolRoom::Options RoomAt(SpoolRoom::Options options, const std::string& path) {
  options.path = path;
  return options;
}

// Of each of its sources, the first one, which is observed as `main`, first.
std::vector<StreamLoad> LoadsOf(const v1::Stream& stream,
                                const v1::SourceStatus& main = {}) {
  std::vector<StreamLoad> loads;
  const auto add = [&](SourceRole role, const v1::SourceStatus& observed) {
    const bool mode_known =
        stream.sampling_mode() == v1::SAMPLING_MODE_AUTO &&
        observed.effective_mode() != v1::SAMPLING_MODE_UNSPECIFIED;
    loads.push_back(
        {.stream_id = SourceId{stream.stream_id(), role}.ToString(),
         .second_source = role == SourceRole::kDetect,
         .interval_seconds = stream.interval_seconds(),
         .mode =
             mode_known ? observed.effective_mode() : stream.sampling_mode(),
         .gop_seconds = observed.gop_seconds(),
         .receiving = stream.desired_running() &&
                      observed.state() == v1::STREAM_STATE_RUNNING});
  };
  add(SourceRole::kMain, main);
  if (!stream.detect_url().empty()) add(SourceRole::kDetect, stream.detect());
  return loads;
}

}  // namespace

// One stream in the supervisor's books.
struct StreamSupervisor::Entry {
  // Held through each call that changes the stream, so that what the worker is
  // told comes in the order of what the store holds. Taken before `mu_`.
  absl::Mutex op_mu;
  // Held from the decision to pause or to go on until the worker has been
  // told, so that the last it hears is what holds. Not `op_mu`: a decode
  // thread takes it, and must not wait for a call that waits for that thread.
  absl::Mutex pause_mu;
  // Constant after publication.
  std::unique_ptr<StreamSession> session;
  // Also its camera id.
  std::string process_name;
  double phase_share = 0;
  std::atomic<bool> deleted{false};
  // Its lease is over, which could not be stored. Guarded by op_mu.
  bool lease_stuck = false;
  // The lease keeper's: when it tries the grid again, on the steady clock.
  absl::Duration grid_try_at = -absl::InfiniteDuration();
  // From its first failure on.
  std::optional<Backoff> grid_backoff;
};

StreamSupervisor::StreamSupervisor(const Options& options, StreamStore& store,
                                   InferencePeer& inference,
                                   AggregatorPeer& aggregator,
                                   SendObserver* observer, Clock& clock)
    : options_(options),
      store_(store),
      inference_(inference),
      aggregator_(aggregator),
      clock_(clock),
      room_(RoomAt(options.spool, options.session.data_dir)),
      sender_(options.sender, inference, *this, observer, clock),
      admission_(options.admission),
      feed_([this](const std::string& id) { return ReadStream(id); }),
      gate_(
          options.connects,
          [this](const ConnectQueue::News& news) { OnConnectNews(news); },
          clock),
      cameras_(
          options.cameras, store, aggregator,
          [this](const CameraBook::MaskNews& news) { OnMaskNews(news); },
          clock) {}

StreamSupervisor::~StreamSupervisor() { Shutdown(); }

absl::Status StreamSupervisor::Start(WorkerLink& worker) {
  worker_ = &worker;
  CAMHERD_ASSIGN_OR_RETURN(const auto stored, store_.LoadStreams());
  if (absl::Status status = cameras_.Load(); !status.ok()) {
    LogError("copy of the cameras not used", {{"status", status}});
  }
  CAMHERD_ASSIGN_OR_RETURN(const auto batches, store_.ListBatches());
  std::map<std::string, std::vector<StreamStore::BatchRow>> batches_of;
  for (const StreamStore::BatchRow& batch : batches) {
    batches_of[batch.key.session_id].push_back(batch);
  }
  std::vector<EntryPtr> resumed;
  for (const StreamStore::StoredStream& stream : stored) {
    // No stream's trouble, a full disk or a URL that no longer parses, keeps
    // the others from running, nor the spool from being sent.
    auto entry = std::make_shared<Entry>();
    entry->session = std::make_unique<StreamSession>(
        options_.session, stream, store_, sender_, clock_, total_spool_bytes_);
    entry->process_name = stream.stream.process_name();
    entry->session->Recover(batches_of[stream.stream.session_id()]);
    bool running = stream.stream.desired_running();
    if (const std::string over = entry->session->LeaseOver(); !over.empty()) {
      // What fails is tried again by the keepers.
      running = !entry->session->MarkStopped(over).ok();
      if (!running) entry->session->SealAll().IgnoreError();
      LogInfo("lease ended while the service was down",
              {{"stream", stream.stream.stream_id()},
               {"process_name", entry->process_name},
               {"reason", over}});
    }
    if (running) {
      if (absl::Status status = entry->session->MakeFolders(); !status.ok()) {
        LogError("folders not made",
                 {{"stream", stream.stream.stream_id()}, {"status", status}});
      }
    }
    if (!running) feed_.Know(entry->session->Spec());
    absl::MutexLock lock(&mu_);
    if (running) {
      entry->phase_share = std::fmod(0.6180339887 * started_++, 1);
      running_[entry->process_name] = entry;
      resumed.push_back(entry);
    }
    by_id_[stream.stream.stream_id()] = entry;
    by_session_[stream.stream.session_id()] = entry;
  }
  RemoveUnknownFolders(SpoolRoot(options_.session.data_dir));
  RemoveUnknownFolders(BrightestRoot(options_.session.data_dir));

  // What changed while the service was down counts from the first picture on.
  cameras_.Refresh();
  for (const EntryPtr& entry : resumed) {
    absl::MutexLock op(&entry->op_mu);
    Assign(*entry);
  }
  cameras_.Start();
  LogInfo("streams resumed", {{"streams", resumed.size()},
                              {"history", stored.size() - resumed.size()},
                              {"batches", batches.size()}});
  feed_.Start();
  sender_.Start();
  housekept_at_ = clock_.SteadyNow();
  housekeeper_ = std::thread([this] { HousekeepingLoop(); });
  lease_keeper_ = std::thread([this] { LeaseLoop(); });
  return absl::OkStatus();
}

void StreamSupervisor::RemoveUnknownFolders(const std::string& root) {
  std::set<std::string> known;
  for (const EntryPtr& entry : AllEntries()) {
    known.insert(
        SessionFolder(entry->process_name, entry->session->session_id()));
  }
  for (const std::string& name : ListFolder(root)) {
    if (!IsSessionFolder(name) || known.count(name) > 0) continue;
    const int files = RemoveFolder(absl::StrCat(root, "/", name));
    LogWarning("folder of an unknown session removed",
               {{"folder", name}, {"files", files}});
  }
}

void StreamSupervisor::Shutdown() {
  {
    absl::MutexLock lock(&mu_);
    if (stopping_) return;
    stopping_ = true;
  }
  {
    const std::lock_guard<std::mutex> lock(wake_mu_);
    woken_ = true;
  }
  wake_.notify_all();
  if (housekeeper_.joinable()) housekeeper_.join();
  feed_.Stop();
  sender_.Stop();
  aggregator_.Cancel();
  if (lease_keeper_.joinable()) lease_keeper_.join();
  cameras_.Stop();
  gate_.Stop();
  if (worker_ != nullptr) worker_->Stop();
  for (const EntryPtr& entry : AllEntries()) {
    if (absl::Status status = entry->session->SealAll(); !status.ok()) {
      LogError("batch not sealed",
               {{"stream", entry->session->stream_id()}, {"status", status}});
    }
  }
}

std::optional<v1::Stream> StreamSupervisor::ReadStream(
    const std::string& stream_id) {
  EntryPtr entry;
  {
    absl::MutexLock lock(&mu_);
    const auto it = by_id_.find(stream_id);
    if (it == by_id_.end()) return std::nullopt;
    entry = it->second;
  }
  absl::StatusOr<v1::Stream> stream = entry->session->Snapshot();
  // While the store fails the rest is still worth telling.
  return stream.ok() ? *std::move(stream) : entry->session->Spec();
}

StreamSupervisor::EntryPtr StreamSupervisor::FindStream(
    const std::string& stream_id) {
  absl::MutexLock lock(&mu_);
  if (const auto it = by_id_.find(stream_id); it != by_id_.end()) {
    return it->second;
  }
  const auto it = leaving_.find(stream_id);
  return it == leaving_.end() ? nullptr : it->second;
}

void StreamSupervisor::OnEvent(const v1::FromWorker& event) {
  gate_.OnEvent(event);
  const SourceId source = SourceId::Parse(event.stream_id());
  const EntryPtr entry = FindStream(source.stream_id);
  if (entry == nullptr) return;
  switch (event.message_case()) {
    case v1::FromWorker::kState:
      entry->session->OnState(source.role, event.state());
      feed_.Changed(source.stream_id);
      break;
    case v1::FromWorker::kSample:
      entry->session->OnSample(source.role, event.sample());
      admission_.SampleTaken(event.stream_id(), event.sample().decode_seconds(),
                             event.sample().encode_seconds(),
                             clock_.SteadyNow());
      EnforceQuotas(*entry);
      feed_.Counted(source.stream_id);
      // Its thread, since this one must not wait for a call on the stream.
      if (!entry->session->LeaseOver().empty()) WakeLeaseKeeper();
      break;
    case v1::FromWorker::kMissed:
      entry->session->OnMissed(source.role, event.missed());
      // What a stop cuts off is no sign of want.
      if (entry->session->desired_running()) {
        admission_.SamplesMissed(event.missed().reason(),
                                 event.missed().count(), clock_.SteadyNow());
      }
      break;
    case v1::FromWorker::kEnded:
      entry->session->OnEnded(source.role, event.ended());
      if (entry->session->AwaitEnded(absl::ZeroDuration())) {
        absl::MutexLock lock(&mu_);
        leaving_.erase(source.stream_id);
      }
      Reassign(entry, source.role);
      feed_.Changed(source.stream_id);
      break;
    // The gate's, and the link's.
    case v1::FromWorker::kConnectWanted:
    case v1::FromWorker::kConnectionClosed:
    case v1::FromWorker::kPong:
    case v1::FromWorker::kCrashed:
    case v1::FromWorker::kProbeStep:
    case v1::FromWorker::kProbeEnded:
    case v1::FromWorker::MESSAGE_NOT_SET:
      break;
  }
}

void StreamSupervisor::Reassign(const EntryPtr& entry, SourceRole role) {
  if (!entry->session->desired_running() || entry->deleted ||
      !entry->session->has_source(role)) {
    return;
  }
  {
    absl::MutexLock lock(&mu_);
    if (stopping_) return;
  }
  // Nobody asked for the end: its worker process is gone.
  absl::MutexLock op(&entry->op_mu);
  if (!entry->session->desired_running() || entry->deleted) return;
  Assign(*entry, role);
}

void StreamSupervisor::OnConnectNews(const ConnectQueue::News& news) {
  const SourceId source = SourceId::Parse(news.stream_id);
  const EntryPtr entry = FindStream(source.stream_id);
  if (entry == nullptr) return;
  switch (news.kind) {
    case ConnectQueue::Kind::kWaits:
      entry->session->OnWaits(source.role);
      feed_.Changed(source.stream_id);
      return;
    case ConnectQueue::Kind::kNoSession:
      entry->session->OnNoSession(
          source.role,
          absl::StrCat(options_.connects.sessions_per_host, " of ",
                       options_.connects.sessions_per_host, " sessions to ",
                       news.host, " are in use (sessions_per_host)"));
      feed_.Changed(source.stream_id);
      return;
    case ConnectQueue::Kind::kGranted:
      break;
  }
  v1::ToWorker message;
  message.mutable_grant()->set_stream_id(news.stream_id);
  message.mutable_grant()->set_request(news.request);
  worker_->Send(message);
  // After it: the session may be busy with its store.
  entry->session->OnConnecting(source.role);
  feed_.Changed(source.stream_id);
}

void StreamSupervisor::Assign(Entry& entry) {
  Assign(entry, SourceRole::kMain);
  Assign(entry, SourceRole::kDetect);
}

void StreamSupervisor::Assign(Entry& entry, SourceRole role) {
  std::optional<v1::AssignStream> assign =
      entry.session->Assignment(role, entry.phase_share);
  if (!assign.has_value()) return;
  // After their version: masks that change in between are told with the next.
  const auto masks = cameras_.PrivacyMasks(entry.process_name);
  assign->set_camera_unknown(!masks.has_value());
  if (masks.has_value()) {
    *assign->mutable_privacy_masks() = {masks->begin(), masks->end()};
  }
  entry.session->OnAssigned(role);
  v1::ToWorker message;
  *message.mutable_assign() = *std::move(assign);
  worker_->Send(message);
  feed_.Changed(entry.session->stream_id());
  // It may be another worker than the one that was told last.
  absl::MutexLock lock(&entry.pause_mu);
  v1::ToWorker pause;
  *pause.mutable_pause() = entry.session->PauseOf(role);
  worker_->Send(pause);
}

void StreamSupervisor::Revoke(Entry& entry, SourceRole role) {
  v1::ToWorker message;
  v1::RevokeStream& revoke = *message.mutable_revoke();
  revoke.set_stream_id(SourceId{entry.session->stream_id(), role}.ToString());
  gate_.OnRevoked(revoke.stream_id());
  worker_->Send(message);
}

void StreamSupervisor::OnMaskNews(const CameraBook::MaskNews& news) {
  for (const EntryPtr& entry : AllEntries()) {
    if (!news.all && news.camera_ids.count(entry->process_name) == 0) continue;
    StreamSession& session = *entry->session;
    // One that is being stopped holds `op_mu` for seconds.
    if (entry->deleted || !session.desired_running()) continue;
    absl::MutexLock op(&entry->op_mu);
    if (entry->deleted || !session.desired_running()) continue;
    if (news.camera_ids.count(entry->process_name) > 0) {
      const auto masks = cameras_.PrivacyMasks(entry->process_name);
      const size_t count = masks.has_value() ? masks->size() : 0;
      session.MasksChanged(/*forget=*/count > 0);
      LogInfo("privacy masks changed", {{"stream", session.stream_id()},
                                        {"process_name", entry->process_name},
                                        {"masks", count}});
    }
    Assign(*entry);
  }
}

absl::Status StreamSupervisor::EndRunning(Entry& entry,
                                          const std::string& reason) {
  CAMHERD_RETURN_IF_ERROR(entry.session->MarkStopped(reason));
  {
    absl::MutexLock lock(&mu_);
    running_.erase(entry.process_name);
  }
  Revoke(entry, SourceRole::kMain);
  if (entry.session->has_source(SourceRole::kDetect)) {
    Revoke(entry, SourceRole::kDetect);
  }
  feed_.Changed(entry.session->stream_id());
  return absl::OkStatus();
}

void StreamSupervisor::Pause(Entry& entry, const std::string& reason) {
  absl::MutexLock lock(&entry.pause_mu);
  const std::vector<v1::PauseSampling> news = entry.session->SetPaused(reason);
  if (news.empty()) return;
  LogWarning(reason.empty() ? "sampling goes on" : "sampling paused",
             {{"stream", entry.session->stream_id()},
              {"reason", reason},
              {"spool_bytes", entry.session->spool_bytes()}});
  for (const v1::PauseSampling& pause : news) {
    v1::ToWorker message;
    *message.mutable_pause() = pause;
    worker_->Send(message);
  }
}

StreamSupervisor::EntryPtr StreamSupervisor::FindSession(
    const std::string& session_id) {
  absl::MutexLock lock(&mu_);
  const auto it = by_session_.find(session_id);
  return it == by_session_.end() ? nullptr : it->second;
}

std::vector<StreamSupervisor::EntryPtr> StreamSupervisor::AllEntries() {
  absl::MutexLock lock(&mu_);
  std::vector<EntryPtr> entries;
  entries.reserve(by_id_.size());
  for (const auto& [id, entry] : by_id_) entries.push_back(entry);
  return entries;
}

absl::StatusOr<StreamSupervisor::EntryPtr> StreamSupervisor::Resolve(
    absl::string_view field, const std::string& name) {
  if (name.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(field, " must not be empty, got \"\""));
  }
  CAMHERD_RETURN_IF_ERROR(CheckId(field, name));
  absl::MutexLock lock(&mu_);
  if (const auto it = by_id_.find(name); it != by_id_.end()) return it->second;
  if (const auto it = running_.find(name); it != running_.end()) {
    return it->second;
  }
  for (auto it = by_id_.rbegin(); it != by_id_.rend(); ++it) {
    if (it->second->process_name == name) return it->second;
  }
  std::vector<std::string> names;
  for (const auto& [running, entry] : running_) {
    if (names.size() == kNamesInMessage) {
      names.push_back("...");
      break;
    }
    names.push_back(running);
  }
  return absl::NotFoundError(absl::StrCat(field, " \"", name,
                                          "\" is not known; running: [",
                                          absl::StrJoin(names, ", "), "]"));
}

absl::StatusOr<StreamSupervisor::EntryPtr> StreamSupervisor::FindRunning(
    const StreamRequest& request) {
  EntryPtr found;
  if (!request.spec.camera_id().empty()) {
    const auto it = running_.find(request.spec.camera_id());
    if (it != running_.end()) found = it->second;
  } else {
    for (const auto& [name, entry] : running_) {
      const std::optional<CameraUrl> url = entry->session->url();
      if (entry->session->auto_named() && url.has_value() &&
          url->Masked() == request.url.Masked()) {
        found = entry;
        break;
      }
    }
  }
  if (found == nullptr) return found;
  const std::optional<CameraUrl> url = found->session->url();
  const std::string difference =
      url.has_value()
          ? Difference(*url, found->session->url(SourceRole::kDetect),
                       found->session->Spec(), request)
          : "its stored rtsp_url cannot be used";
  if (difference.empty()) return found;
  return absl::AlreadyExistsError(
      absl::StrCat("camera_id \"", found->process_name,
                   "\" runs already, with something else: ", difference));
}

absl::Status StreamSupervisor::PrepareModels(
    const std::vector<std::string>& models) {
  for (const std::string& model : models) {
    const absl::Status status =
        inference_.PrepareModel(model, options_.prepare_timeout);
    if (status.ok()) continue;
    if (absl::IsInvalidArgument(status) || absl::IsFailedPrecondition(status)) {
      return status;
    }
    return absl::UnavailableError(
        absl::StrCat("the inference service cannot be asked for model ", model,
                     ": ", status.message()));
  }
  return absl::OkStatus();
}

absl::StatusOr<v1::StartStreamResponse> StreamSupervisor::StartStream(
    const v1::StartStreamRequest& request) {
  CAMHERD_ASSIGN_OR_RETURN(const StreamRequest asked,
                           CheckStartRequest(request, options_.defaults));
  // So that none is taken for the running one that is about to stop.
  EndLeases();
  v1::StartStreamResponse response;
  EntryPtr running;
  {
    absl::MutexLock lock(&mu_);
    CAMHERD_ASSIGN_OR_RETURN(running, FindRunning(asked));
  }
  if (running == nullptr) {
    CAMHERD_RETURN_IF_ERROR(PrepareModels(
        {asked.spec.models().begin(), asked.spec.models().end()}));
    // Masks that were set just before the start are on its first picture.
    cameras_.Refresh();
  }

  auto entry = std::make_shared<Entry>();
  absl::MutexLock op(&entry->op_mu);
  if (running == nullptr) {
    absl::MutexLock lock(&mu_);
    if (stopping_) return absl::UnavailableError("the service is stopping");
    CAMHERD_ASSIGN_OR_RETURN(running, FindRunning(asked));
    if (running == nullptr) {
      CAMHERD_RETURN_IF_ERROR(admission_.Admit(
          LoadsOf(asked.spec), RunningLoads(), clock_.SteadyNow()));
      const absl::Time now = clock_.Now();
      StreamStore::StoredStream stored;
      stored.stream = asked.spec;
      stored.url = asked.url.Full();
      if (asked.detect_url) stored.detect_url = asked.detect_url->Full();
      stored.auto_named = asked.spec.camera_id().empty();
      stored.last_activity = now;
      const std::string name =
          stored.auto_named ? UniqueName(asked.url.ProcessName(),
                                         [&](const std::string& candidate) {
                                           mu_.AssertHeld();
                                           return running_.count(candidate) > 0;
                                         })
                            : asked.spec.camera_id();
      stored.stream.set_camera_id(name);
      stored.stream.set_process_name(name);
      stored.stream.set_stream_id(MakeUuid7(now));
      stored.stream.set_session_id(MakeUuid7(now));
      stored.stream.set_desired_running(true);
      stored.stream.set_node_id(options_.session.node_id);
      *stored.stream.mutable_started_at() = ToProto(now);
      if (asked.spec.ttl_seconds() > 0) {
        *stored.stream.mutable_expires_at() =
            ToProto(now + absl::Seconds(asked.spec.ttl_seconds()));
      }
      entry->session =
          std::make_unique<StreamSession>(options_.session, stored, store_,
                                          sender_, clock_, total_spool_bytes_);
      absl::Status status = entry->session->MakeFolders();
      if (status.ok()) status = store_.InsertStream(stored);
      if (!status.ok()) {
        entry->session->Discard();
        return status;
      }
      entry->process_name = name;
      entry->phase_share = std::fmod(0.6180339887 * started_++, 1);
      by_id_[stored.stream.stream_id()] = entry;
      by_session_[stored.stream.session_id()] = entry;
      running_[name] = entry;
    }
  }
  if (running != nullptr) {
    CAMHERD_ASSIGN_OR_RETURN(*response.mutable_stream(),
                             running->session->Snapshot());
    response.set_already_running(true);
    return response;
  }
  Assign(*entry);
  CAMHERD_ASSIGN_OR_RETURN(*response.mutable_stream(),
                           entry->session->Snapshot());
  LogInfo("stream started",
          {{"stream", entry->session->stream_id()},
           {"session", entry->session->session_id()},
           {"process_name", entry->process_name},
           {"source", asked.url.Masked()},
           {"detect_source", asked.spec.detect_url()},
           {"interval_seconds", asked.spec.interval_seconds()},
           {"models", absl::StrJoin(asked.spec.models(), ",")}});
  return response;
}

absl::StatusOr<v1::StopStreamResponse> StreamSupervisor::StopStream(
    const v1::StopStreamRequest& request) {
  CAMHERD_ASSIGN_OR_RETURN(const EntryPtr entry,
                           Resolve("stream", request.stream()));
  StreamSession& session = *entry->session;
  absl::MutexLock op(&entry->op_mu);
  if (entry->deleted) {
    return absl::NotFoundError(
        absl::StrCat("stream \"", request.stream(), "\" is not known"));
  }
  if (session.desired_running()) {
    CAMHERD_RETURN_IF_ERROR(EndRunning(*entry));
    LogInfo("stream stopped", {{"stream", session.stream_id()},
                               {"session", session.session_id()},
                               {"process_name", entry->process_name}});
  }
  return FinishStop(*entry);
}

absl::StatusOr<v1::StopStreamResponse> StreamSupervisor::FinishStop(
    Entry& entry) {
  StreamSession& session = *entry.session;
  if (!session.AwaitEnded(options_.stop_timeout)) {
    LogWarning("the worker is slow to leave the camera",
               {{"stream", session.stream_id()}});
    CAMHERD_RETURN_IF_ERROR(session.SealAll());
  }

  v1::StopStreamResponse response;
  std::optional<v1::RenderGridResponse> grid = session.StoredGrid();
  if (!grid.has_value()) {
    CAMHERD_ASSIGN_OR_RETURN(const std::vector<v1::Frame> frames,
                             session.BrightestFrames());
    if (frames.size() < BrightnessRanker::kKept) {
      response.set_grid_reason(
          absl::StrCat("Not enough frames captured: ", frames.size(), " of ",
                       BrightnessRanker::kKept));
    } else {
      v1::RenderGridHeader header;
      header.set_session_id(session.session_id());
      header.set_stream_id(session.stream_id());
      header.set_process_name(entry.process_name);
      header.set_camera_id(entry.process_name);
      header.set_save(true);
      auto rendered =
          aggregator_.RenderGrid(header, frames, options_.grid_timeout);
      if (rendered.ok()) {
        session.StoreGrid(*rendered);
        grid = *std::move(rendered);
      } else {
        response.set_grid_reason(absl::StrCat(
            "The grid could not be rendered, stop again to retry: ",
            absl::StatusCodeToString(rendered.status().code()), ": ",
            rendered.status().message()));
      }
    }
  }
  if (grid.has_value()) {
    *response.mutable_grid() = grid->grid();
    response.set_grid_jpeg(grid->jpeg());
  }
  CAMHERD_ASSIGN_OR_RETURN(*response.mutable_stream(), session.Snapshot());
  return response;
}

void StreamSupervisor::WakeLeaseKeeper() {
  {
    const std::lock_guard<std::mutex> lock(wake_mu_);
    lease_over_ = true;
  }
  wake_.notify_all();
}

void StreamSupervisor::LeaseLoop() {
  while (true) {
    EndLeases();
    // Between two grids, since each may take seconds.
    const bool more = MakeOwedGrid();
    std::unique_lock<std::mutex> lock(wake_mu_);
    const auto news = [this, more] { return woken_ || lease_over_ || more; };
    wake_.wait_for(
        lock, absl::ToChronoNanoseconds(options_.housekeeping_interval), news);
    if (woken_) return;
    lease_over_ = false;
  }
}

void StreamSupervisor::EndLeases() {
  for (const EntryPtr& entry : AllEntries()) {
    StreamSession& session = *entry->session;
    if (session.LeaseOver().empty()) continue;
    // Whoever holds it may be changing the lease, or waiting for a peer.
    if (!entry->op_mu.TryLock()) continue;
    const std::string over = session.LeaseOver();
    if (!over.empty() && !entry->deleted) {
      const absl::Status status = EndRunning(*entry, over);
      if (status.ok()) {
        LogInfo("lease ended", {{"stream", session.stream_id()},
                                {"process_name", entry->process_name},
                                {"reason", over}});
      } else if (!std::exchange(entry->lease_stuck, true)) {
        LogError("lease not ended, tried again",
                 {{"stream", session.stream_id()}, {"status", status}});
      }
    }
    entry->op_mu.Unlock();
  }
}

bool StreamSupervisor::MakeOwedGrid() {
  for (const EntryPtr& entry : AllEntries()) {
    StreamSession& session = *entry->session;
    if (!session.owes_grid()) continue;
    const absl::Duration now = clock_.SteadyNow();
    if (now < entry->grid_try_at) continue;
    if (!entry->op_mu.TryLock()) continue;
    absl::StatusOr<v1::StopStreamResponse> stopped = v1::StopStreamResponse();
    if (!entry->deleted) stopped = FinishStop(*entry);
    entry->op_mu.Unlock();
    // The first of a row.
    if (session.owes_grid() && !entry->grid_backoff.has_value()) {
      LogWarning("grid not made, tried again",
                 {{"stream", session.stream_id()},
                  {"status", stopped.status()},
                  {"reason", stopped.ok() ? stopped->grid_reason() : ""}});
    }
    if (!entry->grid_backoff.has_value()) {
      entry->grid_backoff.emplace(
          Backoff::Options{.initial = options_.grid_retry_initial,
                           .max = options_.grid_retry_max});
    }
    entry->grid_try_at = clock_.SteadyNow() + entry->grid_backoff->Next();
    return true;
  }
  return false;
}

absl::StatusOr<v1::Stream> StreamSupervisor::GetStream(
    const v1::GetStreamRequest& request) {
  CAMHERD_ASSIGN_OR_RETURN(const EntryPtr entry,
                           Resolve("stream", request.stream()));
  return entry->session->Snapshot();
}

absl::StatusOr<v1::ListStreamsResponse> StreamSupervisor::ListStreams(
    const v1::ListStreamsRequest& request) {
  if (request.page_size() < 0 || request.page_size() > kMaxPage) {
    return absl::InvalidArgumentError(absl::StrCat(
        "page_size must be in [0, 1000], got ", request.page_size()));
  }
  if (!request.camera_id().empty()) {
    CAMHERD_RETURN_IF_ERROR(CheckId("camera_id", request.camera_id()));
  }
  for (const int state : request.states()) {
    if (!v1::StreamState_IsValid(state) ||
        state == v1::STREAM_STATE_UNSPECIFIED) {
      return absl::InvalidArgumentError(
          absl::StrCat("states must be stream states, got ", state));
    }
  }
  // The token is the id of the last stream told, newest first.
  const std::string& token = request.page_token();
  if (!token.empty() && !IsSessionFolder(absl::StrCat("x_", token))) {
    return absl::InvalidArgumentError(
        absl::StrCat("page_token must come from ListStreams, got \"",
                     absl::CHexEscape(token.substr(0, 64)), "\""));
  }
  const size_t page_size =
      request.page_size() == 0 ? kDefaultPage : request.page_size();

  std::vector<EntryPtr> entries = AllEntries();
  v1::ListStreamsResponse response;
  for (auto it = entries.rbegin(); it != entries.rend(); ++it) {
    const StreamSession& session = *(*it)->session;
    if (!token.empty() && session.stream_id() >= token) continue;
    if (!request.camera_id().empty() &&
        (*it)->process_name != request.camera_id()) {
      continue;
    }
    if (!request.states().empty() &&
        std::count(request.states().begin(), request.states().end(),
                   session.Spec().state()) == 0) {
      continue;
    }
    if (static_cast<size_t>(response.streams_size()) == page_size) {
      response.set_next_page_token(
          response.streams(response.streams_size() - 1).stream_id());
      break;
    }
    CAMHERD_ASSIGN_OR_RETURN(*response.add_streams(),
                             (*it)->session->Snapshot());
  }
  return response;
}

absl::StatusOr<v1::Stream> StreamSupervisor::UpdateStream(
    const v1::UpdateStreamRequest& request) {
  CAMHERD_ASSIGN_OR_RETURN(const EntryPtr entry,
                           Resolve("stream", request.stream()));
  StreamSession& session = *entry->session;
  const auto check_running = [&]() -> absl::Status {
    if (!entry->deleted && session.desired_running()) return absl::OkStatus();
    return absl::FailedPreconditionError(
        absl::StrCat("stream \"", request.stream(),
                     "\" is stopped; start the camera again instead"));
  };
  const auto checked = [&] {
    return CheckUpdateRequest(request, session.Spec(), session.url(),
                              session.url(SourceRole::kDetect));
  };
  CAMHERD_RETURN_IF_ERROR(check_running());
  CAMHERD_RETURN_IF_ERROR(checked().status());
  // Before `op_mu`: a worker that has to tell an end may wait for it, and a
  // peer that hangs must not keep others from stopping the stream.
  if (!request.detect_url().empty() &&
      !session.has_source(SourceRole::kDetect)) {
    session.AwaitEnded(SourceRole::kDetect, options_.stop_timeout);
  }
  if (request.has_models()) {
    const std::vector<std::string> models(request.models().names().begin(),
                                          request.models().names().end());
    const v1::Stream before = session.Spec();
    std::vector<std::string> added;
    for (const std::string& model : models) {
      if (std::count(before.models().begin(), before.models().end(), model) ==
          0) {
        added.push_back(model);
      }
    }
    CAMHERD_RETURN_IF_ERROR(PrepareModels(added));
  }

  absl::MutexLock op(&entry->op_mu);
  CAMHERD_RETURN_IF_ERROR(check_running());
  CAMHERD_ASSIGN_OR_RETURN(const StreamRequest updated, checked());
  const std::optional<CameraUrl>& detect_url = updated.detect_url;
  const bool had_second = session.has_source(SourceRole::kDetect);
  CAMHERD_RETURN_IF_ERROR(
      session.Update(updated.spec, updated.url, detect_url));
  if (had_second && !detect_url.has_value()) {
    Revoke(*entry, SourceRole::kDetect);
  }
  if (const std::string over = session.LeaseOver(); !over.empty()) {
    CAMHERD_RETURN_IF_ERROR(EndRunning(*entry, over));
    WakeLeaseKeeper();
  } else {
    Assign(*entry);
  }
  LogInfo("stream updated",
          {{"stream", session.stream_id()},
           {"source", updated.spec.rtsp_url()},
           {"detect_source", updated.spec.detect_url()},
           {"interval_seconds", updated.spec.interval_seconds()},
           {"models", absl::StrJoin(updated.spec.models(), ",")}});
  return session.Snapshot();
}

absl::Status StreamSupervisor::Forget(const EntryPtr& entry) {
  StreamSession& session = *entry->session;
  const int64_t received = session.received_bytes();
  CAMHERD_RETURN_IF_ERROR(store_.RemoveStream(session.stream_id()));
  entry->deleted = true;
  sender_.RemoveSession(session.session_id());
  session.Discard();
  {
    absl::MutexLock lock(&mu_);
    received_before_ += received;
    by_id_.erase(session.stream_id());
    by_session_.erase(session.session_id());
  }
  feed_.Changed(session.stream_id());
  return absl::OkStatus();
}

absl::StatusOr<v1::DeleteStreamResponse> StreamSupervisor::DeleteStream(
    const v1::DeleteStreamRequest& request) {
  const absl::StatusOr<EntryPtr> found = Resolve("stream", request.stream());
  if (absl::IsNotFound(found.status())) return v1::DeleteStreamResponse();
  CAMHERD_RETURN_IF_ERROR(found.status());
  const EntryPtr entry = *found;
  StreamSession& session = *entry->session;
  absl::MutexLock op(&entry->op_mu);
  if (entry->deleted) return v1::DeleteStreamResponse();
  if (session.desired_running()) {
    CAMHERD_RETURN_IF_ERROR(EndRunning(*entry));
  }
  if (!session.AwaitEnded(options_.stop_timeout)) {
    // OnEvent takes it out after the end it sees.
    absl::MutexLock lock(&mu_);
    if (!session.AwaitEnded(absl::ZeroDuration())) {
      leaving_[session.stream_id()] = entry;
    }
  }
  CAMHERD_RETURN_IF_ERROR(Forget(entry));
  LogInfo("stream deleted", {{"stream", session.stream_id()},
                             {"process_name", entry->process_name}});
  return v1::DeleteStreamResponse();
}

absl::StatusOr<v1::GetLatestFrameResponse> StreamSupervisor::GetLatestFrame(
    const v1::GetLatestFrameRequest& request) {
  if (request.width() != 0 &&
      (request.width() < 16 || request.width() > 7680)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "width must be 0 or in [16, 7680], got ", request.width()));
  }
  if (request.boxes() && !request.acknowledged()) {
    return absl::InvalidArgumentError(
        "boxes must be false where acknowledged is false, got true");
  }
  CAMHERD_ASSIGN_OR_RETURN(const EntryPtr entry,
                           Resolve("stream", request.stream()));
  CAMHERD_ASSIGN_OR_RETURN(v1::GetLatestFrameResponse latest,
                           entry->session->LatestFrame(request.acknowledged()));
  if (!request.boxes() && request.width() == 0) return latest;
  std::vector<v1::Detection> boxes;
  if (request.boxes()) {
    boxes.assign(latest.detections().begin(), latest.detections().end());
  }
  CAMHERD_ASSIGN_OR_RETURN(
      *latest.mutable_frame()->mutable_jpeg(),
      DrawJpeg(latest.frame().jpeg(), boxes, request.width()));
  return latest;
}

absl::StatusOr<v1::GetGridResponse> StreamSupervisor::GetGrid(
    const v1::GetGridRequest& request) {
  CAMHERD_ASSIGN_OR_RETURN(const EntryPtr entry,
                           Resolve("stream", request.stream()));
  StreamSession& session = *entry->session;
  v1::GetGridResponse response;
  if (request.cells_only()) {
    *response.mutable_grid() = session.GridCells();
    return response;
  }
  std::optional<v1::RenderGridResponse> grid = session.StoredGrid();
  if (!grid.has_value()) {
    CAMHERD_ASSIGN_OR_RETURN(const std::vector<v1::Frame> frames,
                             session.BrightestFrames());
    if (frames.empty()) {
      return absl::FailedPreconditionError(
          absl::StrCat("stream ", entry->process_name, " has no frame yet"));
    }
    v1::RenderGridHeader header;
    header.set_session_id(session.session_id());
    header.set_stream_id(session.stream_id());
    header.set_process_name(entry->process_name);
    header.set_camera_id(entry->process_name);
    header.set_save(false);
    CAMHERD_ASSIGN_OR_RETURN(
        grid, aggregator_.RenderGrid(header, frames, options_.grid_timeout));
  }
  *response.mutable_grid() = grid->grid();
  response.set_jpeg(grid->jpeg());
  return response;
}

absl::StatusOr<OutgoingBatch> StreamSupervisor::LoadBatch(const BatchKey& key) {
  const EntryPtr entry = FindSession(key.session_id);
  if (entry == nullptr) return absl::NotFoundError("no such session");
  CAMHERD_ASSIGN_OR_RETURN(OutgoingBatch batch, entry->session->LoadBatch(key));
  batch.filter = cameras_.Filter(entry->process_name);
  return batch;
}

absl::Status StreamSupervisor::SetFateUnknown(const BatchKey& key,
                                              bool unknown) {
  return store_.SetFateUnknown(key, unknown);
}

absl::Status StreamSupervisor::BatchRecorded(
    const BatchKey& key, const v1::InferBatchResponse& answer) {
  const EntryPtr entry = FindSession(key.session_id);
  if (entry == nullptr) return absl::NotFoundError("no such session");
  CAMHERD_RETURN_IF_ERROR(entry->session->BatchRecorded(key, answer));
  TellSettled(*entry);
  return absl::OkStatus();
}

void StreamSupervisor::TellSettled(const Entry& entry) {
  const StreamSession& session = *entry.session;
  // The last one makes a stopped stream of one that was stopping.
  if (session.desired_running()) {
    feed_.Counted(session.stream_id());
  } else {
    feed_.Changed(session.stream_id());
  }
}

absl::Status StreamSupervisor::BatchDropped(const BatchKey& key,
                                            const std::string& reason,
                                            const absl::Status& why) {
  const EntryPtr entry = FindSession(key.session_id);
  if (entry == nullptr) return absl::NotFoundError("no such session");
  CAMHERD_RETURN_IF_ERROR(entry->session->BatchDropped(key, reason));
  TellSettled(*entry);
  LogWarning("batch dropped", {{"stream", entry->session->stream_id()},
                               {"batch_seq", key.batch_seq},
                               {"reason", reason},
                               {"why", why}});
  return absl::OkStatus();
}

void StreamSupervisor::BatchDelayed(const BatchKey& key,
                                    const absl::Status& why,
                                    absl::Duration pause) {
  const EntryPtr entry = FindSession(key.session_id);
  if (entry == nullptr) return;
  const v1::Stream before = entry->session->Spec();
  entry->session->BatchDelayed(why);
  // One line when it begins; the state shows the rest.
  if (before.sending_reason().empty()) {
    LogWarning("batch waits", {{"stream", entry->session->stream_id()},
                               {"batch_seq", key.batch_seq},
                               {"why", why},
                               {"pause", absl::FormatDuration(pause)}});
  }
}

bool StreamSupervisor::DropOldest(const std::string& session_id) {
  const auto rows = store_.OldestDroppable(session_id, 16);
  if (!rows.ok()) return false;
  for (const StreamStore::BatchRow& row : *rows) {
    if (!sender_.Remove(row.key)) continue;
    const absl::Status status = BatchDropped(
        row.key, "quota", absl::ResourceExhaustedError("the spool's quota"));
    if (status.ok()) return true;
    sender_.Add(row.key, row.sealed_at, row.fate_unknown);
    return false;
  }
  return false;
}

void StreamSupervisor::EnforceQuotas(Entry& entry) {
  StreamSession& session = *entry.session;
  if (!session.uses_spool()) return;
  while (true) {
    const bool over_own =
        session.spool_bytes() > options_.spool.stream_max_bytes;
    const bool over_all = total_spool_bytes_ > options_.spool.total_max_bytes;
    if (!over_own && !over_all) return;
    if (DropOldest(over_own ? session.session_id() : "")) continue;
    // So that the sender can take what is open, and the next one can go.
    session.SealAll().IgnoreError();
    Pause(entry, kSpoolFull);
    return;
  }
}

void StreamSupervisor::FollowRoom(Entry& entry) {
  StreamSession& session = *entry.session;
  if (!session.desired_running()) return;
  const bool uses_spool = session.uses_spool();
  if (room_.disk_full()) {
    Pause(entry, kDiskFull);
  } else if (!uses_spool || session.paused_for() == kDiskFull ||
             (total_spool_bytes_ <=
                  kRoomToResume * options_.spool.total_max_bytes &&
              session.spool_bytes() <=
                  kRoomToResume * options_.spool.stream_max_bytes)) {
    // Where its quota is still full, the next sample pauses it again.
    Pause(entry, "");
  }
  const int before = session.widened();
  const int widened = uses_spool ? room_.Widened(before, session.spool_bytes(),
                                                 total_spool_bytes_)
                                 : 1;
  // Whoever holds it may wait for a peer; the next look will do.
  if (widened == before || !entry.op_mu.TryLock()) return;
  if (!entry.deleted && session.desired_running()) {
    session.SetWidened(widened);
    Assign(entry);
    LogWarning(
        widened > before ? "spool fills, sampling less often"
                         : "spool drains, sampling more often",
        {{"stream", session.stream_id()},
         {"spool_bytes", session.spool_bytes()},
         {"spool_total_bytes", total_spool_bytes_.load()},
         {"interval_seconds", session.Spec().effective_interval_seconds()}});
  }
  entry.op_mu.Unlock();
}

void StreamSupervisor::HousekeepingLoop() {
  while (true) {
    {
      std::unique_lock<std::mutex> lock(wake_mu_);
      if (wake_.wait_for(
              lock, absl::ToChronoNanoseconds(options_.housekeeping_interval),
              [this] { return woken_; })) {
        return;
      }
    }
    Housekeep();
    const std::lock_guard<std::mutex> lock(wake_mu_);
    housekept_at_ = clock_.SteadyNow();
  }
}

absl::Status StreamSupervisor::CheckAlive() {
  // Whether the store can be read is no matter of life: the disk's trouble
  // would outlast a new start.
  (void)Snapshot();
  const std::lock_guard<std::mutex> lock(wake_mu_);
  const absl::Duration age = clock_.SteadyNow() - housekept_at_;
  if (age <= kHousekeepingHangs) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat(
      "housekeeping has not come round for ", absl::ToInt64Seconds(age), " s"));
}

void StreamSupervisor::DropOverdue(StreamSession& session) {
  const std::set<int64_t> overdue =
      session.BatchesSealedFor(options_.spool_max_age);
  if (overdue.empty()) return;
  // Not those whose fate is unknown.
  const auto rows = store_.OldestDroppable(session.session_id(), INT_MAX);
  if (!rows.ok()) return;
  for (const StreamStore::BatchRow& row : *rows) {
    if (overdue.count(row.key.batch_seq) == 0) continue;
    if (!sender_.Remove(row.key)) continue;
    if (!BatchDropped(row.key, "max_age",
                      absl::DeadlineExceededError("spool_max_age_seconds"))
             .ok()) {
      sender_.Add(row.key, row.sealed_at, row.fate_unknown);
    }
  }
}

std::vector<StreamLoad> StreamSupervisor::RunningLoads() const {
  std::vector<StreamLoad> loads;
  loads.reserve(running_.size());
  for (const auto& [name, entry] : running_) {
    for (StreamLoad& load :
         LoadsOf(entry->session->Spec(),
                 entry->session->status(SourceRole::kMain))) {
      loads.push_back(std::move(load));
    }
  }
  return loads;
}

void StreamSupervisor::Measure(const std::vector<StreamLoad>& streams) {
  const absl::StatusOr<ProcessUsage> own = ReadProcessUsage(getpid());
  if (!own.ok()) return;
  const WorkerStats workers = worker_->stats();
  admission_.Measure({.cpu_seconds = own->cpu_seconds + workers.cpu_seconds,
                      .memory_bytes = workers.memory_bytes},
                     streams, clock_.SteadyNow());
}

void StreamSupervisor::Housekeep() {
  std::vector<EntryPtr> history;
  std::vector<StreamLoad> loads;
  room_.LookAtDisk(store_.TryWrite());
  for (const EntryPtr& entry : AllEntries()) {
    StreamSession& session = *entry->session;
    session.CatchUp();
    DropOverdue(session);
    FollowRoom(*entry);
    const v1::Stream stream = session.Spec();
    if (stream.state() != v1::STREAM_STATE_STOPPED) feed_.LookAt(stream);
    if (stream.desired_running()) {
      for (StreamLoad& load :
           LoadsOf(stream, session.status(SourceRole::kMain))) {
        loads.push_back(std::move(load));
      }
    }
    if (stream.state() == v1::STREAM_STATE_STOPPED && !session.owes_grid()) {
      history.push_back(entry);
    }
  }
  Measure(loads);
  for (size_t i = 0; i + options_.history_streams < history.size(); ++i) {
    absl::MutexLock op(&history[i]->op_mu);
    if (history[i]->deleted) continue;
    if (absl::Status status = Forget(history[i]); !status.ok()) {
      LogError("history not pruned", {{"status", status}});
      return;
    }
  }
}

absl::StatusOr<CaptureSnapshot> StreamSupervisor::Snapshot() {
  CaptureSnapshot snapshot;
  CAMHERD_ASSIGN_OR_RETURN(const auto all, store_.AllAccounting());
  v1::Accounting& total = snapshot.total;
  for (const auto& [session, accounting] : all) {
    total.set_due(total.due() + accounting.due());
    total.set_captured(total.captured() + accounting.captured());
    total.set_recorded(total.recorded() + accounting.recorded());
    total.set_spooled(total.spooled() + accounting.spooled());
    total.set_ranked_only(total.ranked_only() + accounting.ranked_only());
    for (const auto& [reason, count] : accounting.missed()) {
      (*total.mutable_missed())[reason] += count;
    }
    for (const auto& [reason, count] : accounting.dropped()) {
      (*total.mutable_dropped())[reason] += count;
    }
  }
  {
    absl::MutexLock lock(&mu_);
    snapshot.received_bytes = received_before_;
  }
  for (const EntryPtr& entry : AllEntries()) {
    const v1::Stream stream = entry->session->Spec();
    ++snapshot.streams[stream.state()];
    if (stream.desired_running()) ++snapshot.conditions[stream.condition()];
    if (stream.desired_running() &&
        stream.effective_interval_seconds() > stream.interval_seconds()) {
      ++snapshot.widened_streams;
    }
    snapshot.batches_pending += stream.batches_pending();
    snapshot.received_bytes += entry->session->received_bytes();
    if (!stream.desired_running()) continue;
    CaptureSnapshot::Camera& camera = snapshot.cameras.emplace_back();
    camera.camera_id = entry->process_name;
    camera.running = stream.state() == v1::STREAM_STATE_RUNNING;
    camera.interval = absl::Seconds(stream.effective_interval_seconds());
    camera.last_frame_at = stream.has_last_frame_at()
                               ? FromProto(stream.last_frame_at())
                               : absl::InfinitePast();
    if (const auto it = all.find(stream.session_id()); it != all.end()) {
      camera.accounting = it->second;
    }
  }
  snapshot.spool_bytes = total_spool_bytes_;
  snapshot.spool_limit_bytes = options_.spool.total_max_bytes;
  snapshot.disk_free_bytes = room_.disk_free_bytes();
  snapshot.connects_waiting = static_cast<int64_t>(gate_.waiting());
  snapshot.camera_data_age = cameras_.age();
  if (worker_ != nullptr) snapshot.workers = worker_->stats();
  snapshot.admission = admission_.stats();
  return snapshot;
}

}  // namespace camherd::capture
