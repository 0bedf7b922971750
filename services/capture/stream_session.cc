// SPDX-License-Identifier: Apache-2.0
#include "services/capture/stream_session.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "services/capture/spool.h"
#include "services/capture/spool_layout.h"
#include "services/capture/stream_request.h"
#include "services/common/file.h"
#include "services/common/log.h"
#include "services/common/status_macros.h"
#include "services/common/time_proto.h"

namespace camherd::capture {
namespace {

constexpr size_t kMaxFrameBytes = 64 << 20;
// Of a file that was written longer ago the disk has the bytes: Linux writes
// back after half a minute.
constexpr absl::Duration kWrittenBack = absl::Minutes(2);
// The host's clock was set where it is off by more.
constexpr absl::Duration kClockSlack = absl::Seconds(1);
// More frames than may be under way, in a worker and on the way from it.
constexpr int64_t kFramesUnderWay = 10000;
constexpr absl::string_view kDetectSuffix = "/detect";
constexpr char kSpoolFull[] = "spool_full";
constexpr char kDiskFull[] = "disk_full";

const std::set<std::string>& MissedReasons() {
  static const auto* const reasons = new std::set<std::string>{
      "not_connected", "late",         "decode_error", "corrupt",
      "no_keyframe",   "spool_full",   "disk_error",   "disk_full",
      "overload",      "service_down", "worker_lost",  "camera_unknown"};
  return *reasons;
}

// Number of a file made by FrameFile; 0: another file.
int64_t FrameSeqOf(absl::string_view name) {
  int64_t seq = 0;
  if (name.size() != 14 || !absl::ConsumeSuffix(&name, ".jpg") ||
      !absl::SimpleAtoi(name, &seq)) {
    return 0;
  }
  return std::max<int64_t>(seq, 0);
}

int64_t Total(const google::protobuf::Map<std::string, int64_t>& by_reason) {
  int64_t total = 0;
  for (const auto& [reason, count] : by_reason) total += count;
  return total;
}

}  // namespace

SourceId SourceId::Parse(absl::string_view id) {
  const bool detect = absl::ConsumeSuffix(&id, kDetectSuffix);
  return {.stream_id = std::string(id),
          .role = detect ? SourceRole::kDetect : SourceRole::kMain};
}

std::string SourceId::ToString() const {
  return role == SourceRole::kDetect ? absl::StrCat(stream_id, kDetectSuffix)
                                     : stream_id;
}

StreamSession::StreamSession(const Options& options,
                             const StreamStore::StoredStream& stored,
                             StreamStore& store, BatchSender& sender,
                             Clock& clock,
                             std::atomic<int64_t>& total_spool_bytes)
    : options_(options),
      stream_id_(stored.stream.stream_id()),
      session_id_(stored.stream.session_id()),
      spool_dir_(SpoolDir(options.data_dir, stored.stream.camera_id(),
                          stored.stream.session_id())),
      brightest_dir_(BrightestDir(options.data_dir, stored.stream.camera_id(),
                                  stored.stream.session_id())),
      auto_named_(stored.auto_named),
      store_(store),
      sender_(sender),
      clock_(clock),
      total_spool_bytes_(total_spool_bytes),
      stream_(stored.stream),
      host_ip_(stored.host_ip),
      batch_seq_(stored.batch_seq),
      captured_(stored.captured),
      last_activity_(stored.last_activity),
      stop_reason_(stored.stop_reason),
      judge_(options.condition),
      latest_(stored.latest),
      acknowledged_(stored.acknowledged),
      grid_(stored.grid) {
  // Of streams that were started before there was a choice.
  if (!stream_.has_tls_verify()) stream_.set_tls_verify(true);
  SetLeaseEnd();
  main_.stored_url = stored.url;
  main_.frame_seq = stored.frame_seq;
  main_.connects_before = stored.stream.connects();
  main_.disconnects_before = stored.stream.disconnects();
  detect_.role = SourceRole::kDetect;
  detect_.stored_url = stored.detect_url;
  detect_.frame_seq = stored.detect_frame_seq;
  detect_.connects_before = stored.detect_connects;
  detect_.disconnects_before = stored.detect_disconnects;
  for (Source* source : {&main_, &detect_}) {
    source->next_frame_seq = source->frame_seq + 1;
    source->status.set_connects(source->connects_before);
    source->status.set_disconnects(source->disconnects_before);
    if (Has(source->role)) ReadUrl(*source);
  }
  if (latest_.has_value()) {
    main_.last_frame_at = FromProto(latest_->captured_at());
    main_.last_frame_steady =
        clock_.SteadyNow() -
        std::max(absl::ZeroDuration(), clock_.Now() - *main_.last_frame_at);
  }
  Of(Batched()).next_frame_seq =
      std::max(main_.next_frame_seq, detect_.next_frame_seq);
}

void StreamSession::ReadUrl(Source& source) {
  Begin(source);
  auto url = CameraUrl::Parse(source.stored_url);
  if (url.ok()) {
    source.url = *std::move(url);
    return;
  }
  source.status.set_state(v1::STREAM_STATE_NOT_FOUND);
  source.status.set_state_reason(
      absl::StrCat("the stored URL cannot be used: ", url.status().message()));
  LogError("stream without a usable URL",
           {{"stream", SourceId{stream_id_, source.role}.ToString()},
            {"reason", source.status.state_reason()}});
}

void StreamSession::Begin(Source& source) {
  *source.status.mutable_state_since() = ToProto(clock_.Now());
  source.status.set_state(v1::STREAM_STATE_STARTING);
  source.status.clear_state_reason();
}

void StreamSession::SetUrl(Source& source, const CameraUrl& url) {
  source.stored_url = url.Full();
  if (!source.url.has_value()) Begin(source);
  source.url = url;
}

void StreamSession::AddSpoolBytes(int64_t delta) {
  spool_bytes_ += delta;
  total_spool_bytes_ += delta;
}

void StreamSession::Recover(const std::vector<StreamStore::BatchRow>& batches) {
  absl::MutexLock lock(&mu_);
  recovered_seq_ = std::max(main_.frame_seq, detect_.frame_seq);
  if (absl::Status status = RecoverFrames(batches); !status.ok()) {
    LogError("spool not recovered",
             {{"stream", stream_id_}, {"status", status}});
  }
  if (absl::Status status = RecoverBrightest(); !status.ok()) {
    LogError("brightest frames not recovered",
             {{"stream", stream_id_}, {"status", status}});
  }
  if (stream_.desired_running()) CountTimeAway();
  TrySealOpen(/*also_rest=*/!stream_.desired_running());
  RemoveFoldersIfDone();
}

void StreamSession::CountTimeAway() {
  if (HasAllFrames()) return;
  const absl::Duration interval = Interval();
  absl::Time until = clock_.Now();
  if (stream_.has_expires_at()) {
    until = std::min(until, FromProto(stream_.expires_at()));
  }
  absl::Duration rest;
  const int64_t due =
      absl::IDivDuration(until - last_activity_, interval, &rest);
  if (due <= 0) return;
  const int64_t missed = Has(SourceRole::kDetect) ? 2 * due : due;
  last_activity_ += due * interval;
  if (absl::Status status =
          store_.AddMissed(session_id_, "service_down", missed, last_activity_);
      !status.ok()) {
    LogError("missed samples not counted",
             {{"stream", stream_id_}, {"status", status}});
    uncounted_["service_down"] += missed;
  }
}

void StreamSession::CountLost(Source& source) {
  if (HasAllFrames() || source.grid_interval <= absl::ZeroDuration()) return;
  absl::Duration until = clock_.SteadyNow();
  if (stream_.has_expires_at()) until = std::min(until, lease_end_);
  absl::Duration rest;
  CountMissed(source, "worker_lost",
              absl::IDivDuration(until - source.counted_until,
                                 source.grid_interval, &rest));
}

void StreamSession::CatchUp() {
  absl::MutexLock lock(&mu_);
  if (discarded_) return;
  if (folders_missing_ && stream_.desired_running()) {
    folders_missing_ =
        !MakeDirs(spool_dir_).ok() || !MakeDirs(brightest_dir_).ok();
  }
  // Their first failure has been logged.
  CountUncounted().IgnoreError();
  if (open_.empty()) return;
  SealOpen(/*also_rest=*/Ended()).IgnoreError();
  RemoveFoldersIfDone();
}

absl::Status StreamSession::RecoverFrames(
    const std::vector<StreamStore::BatchRow>& batches) {
  CAMHERD_ASSIGN_OR_RETURN(const auto rows, store_.ListFrames(session_id_));
  std::set<int64_t> known;
  std::set<int64_t> lost_batches;
  std::vector<int64_t> lost;
  for (const StreamStore::FrameRow& row : rows) {
    const int64_t seq = row.info.frame_seq();
    const auto size = FileSize(FrameFile(spool_dir_, seq));
    const bool there = size.ok() && *size == row.info.size_bytes();
    if (there) known.insert(seq);
    if (row.batch_seq != 0) {
      if (!there) lost_batches.insert(row.batch_seq);
    } else if (there) {
      open_.push_back(row.info);
    } else {
      lost.push_back(seq);
    }
    AddSpoolBytes(row.info.size_bytes());
  }
  int orphans = 0;
  for (const std::string& name : ListFolder(spool_dir_)) {
    if (known.count(FrameSeqOf(name)) == 0) {
      UnlinkFile(absl::StrCat(spool_dir_, "/", name)).IgnoreError();
      ++orphans;
    }
  }
  // What cannot be dropped now is found missing again when it is sealed or
  // sent.
  absl::Status dropped;
  if (!lost.empty()) {
    dropped = store_.DropFrames(session_id_, lost, "file_lost");
    if (!dropped.ok()) open_.clear();
    for (const StreamStore::FrameRow& row : rows) {
      if (row.batch_seq != 0) continue;
      if (!dropped.ok()) {
        open_.push_back(row.info);
      } else if (std::count(lost.begin(), lost.end(), row.info.frame_seq()) >
                 0) {
        AddSpoolBytes(-row.info.size_bytes());
      }
    }
  }
  for (const StreamStore::BatchRow& batch : batches) {
    if (lost_batches.count(batch.key.batch_seq) > 0) {
      const absl::Status status = DropLostBatch(batch);
      if (status.ok()) continue;
      dropped = status;
    }
    pending_[batch.key.batch_seq] =
        clock_.SteadyNow() -
        std::max(absl::ZeroDuration(), clock_.Now() - batch.sealed_at);
    sender_.Add(batch.key, batch.sealed_at, batch.fate_unknown);
  }
  if (orphans > 0 || !lost.empty() || !lost_batches.empty()) {
    LogWarning("spool recovered", {{"stream", stream_id_},
                                   {"files_removed", orphans},
                                   {"frames_lost", lost.size()},
                                   {"batches_lost", lost_batches.size()}});
  }
  return dropped;
}

absl::Status StreamSession::DropLostBatch(const StreamStore::BatchRow& batch) {
  CAMHERD_ASSIGN_OR_RETURN(const auto rest, store_.GetBatch(batch.key));
  CAMHERD_RETURN_IF_ERROR(store_.BatchDropped(batch.key, "file_lost"));
  AddSpoolBytes(-batch.bytes);
  for (const int64_t seq : rest.frame_seqs) {
    UnlinkFile(FrameFile(spool_dir_, seq)).IgnoreError();
  }
  return absl::OkStatus();
}

absl::Status StreamSession::RecoverBrightest() {
  CAMHERD_ASSIGN_OR_RETURN(const auto frames,
                           store_.ListBrightest(session_id_));
  std::set<std::string> known;
  for (const v1::FrameInfo& frame : frames) {
    const std::string path = FrameFile(brightest_dir_, frame.frame_seq());
    const auto size = FileSize(path);
    bool whole = size.ok() && *size == frame.size_bytes();
    // A power cut may have left the name and the length of a file only.
    if (whole &&
        FromProto(frame.captured_at()) > last_activity_ - kWrittenBack) {
      const auto jpeg = ReadFile(path, kMaxFrameBytes);
      whole = jpeg.ok() && Sha256(*jpeg) == frame.sha256();
    }
    if (!whole) {
      // A row that stays is looked at again after the next start.
      store_.RemoveBrightest(session_id_, frame.frame_seq()).IgnoreError();
      continue;
    }
    ranker_.Accept(frame);
    known.insert(path);
  }
  if (latest_.has_value()) {
    known.insert(LatestFile(brightest_dir_, latest_->frame_seq()));
  }
  if (acknowledged_.has_value()) {
    known.insert(AcknowledgedFile(brightest_dir_,
                                  acknowledged_->frame().info().frame_seq()));
  }
  if (grid_.has_value()) known.insert(GridFile(brightest_dir_));
  for (const std::string& name : ListFolder(brightest_dir_)) {
    const std::string path = absl::StrCat(brightest_dir_, "/", name);
    if (known.count(path) == 0) UnlinkFile(path).IgnoreError();
  }
  return absl::OkStatus();
}

absl::Status StreamSession::MakeFolders() {
  absl::MutexLock lock(&mu_);
  absl::Status status = MakeDirs(spool_dir_);
  if (status.ok()) status = MakeDirs(brightest_dir_);
  folders_missing_ = !status.ok();
  return status;
}

std::optional<v1::AssignStream> StreamSession::Assignment(SourceRole role,
                                                          double phase_share) {
  absl::MutexLock lock(&mu_);
  Source& source = Of(role);
  if (!Has(role) || !source.url.has_value()) return std::nullopt;
  v1::AssignStream assign;
  assign.set_stream_id(SourceId{stream_id_, role}.ToString());
  assign.set_session_id(session_id_);
  assign.set_url(source.url->Full());
  assign.set_transport(stream_.transport());
  assign.set_tls_verify(stream_.tls_verify());
  // Only what fills the spool is sampled less often for its sake.
  assign.set_interval_seconds(role == Batched()
                                  ? absl::ToDoubleSeconds(Interval())
                                  : stream_.interval_seconds());
  assign.set_phase_seconds(phase_share * assign.interval_seconds());
  assign.set_sampling_mode(stream_.sampling_mode());
  assign.set_ranked_only(role != Batched());
  assign.set_spool_dir(FolderOf(assign.ranked_only()));
  assign.set_next_frame_seq(source.next_frame_seq);
  assign.set_masks_version(masks_version_);
  assign.set_counted_until_seconds(absl::ToDoubleSeconds(
      CountedUntil(source, absl::Seconds(assign.interval_seconds()),
                   absl::Seconds(assign.phase_seconds()))));
  return assign;
}

absl::Duration StreamSession::CountedUntil(Source& source,
                                           absl::Duration interval,
                                           absl::Duration phase) {
  if (interval != source.grid_interval || phase != source.grid_phase) {
    source.grid_interval = interval;
    source.grid_phase = phase;
    const absl::Duration now = clock_.SteadyNow();
    absl::Duration rest;
    absl::IDivDuration(now - phase, interval, &rest);
    if (rest < absl::ZeroDuration()) rest += interval;
    source.counted_until = now - rest - interval;
  }
  return source.counted_until;
}

void StreamSession::OnAssigned(SourceRole role) {
  absl::MutexLock lock(&mu_);
  SetEnded(Of(role), false);
}

void StreamSession::SetEnded(Source& source, bool ended) {
  source.ended = ended;
  const std::lock_guard<std::mutex> lock(ended_mu_);
  (source.role == SourceRole::kMain ? main_ended_told_ : detect_ended_told_) =
      ended;
  ended_changed_.notify_all();
}

void StreamSession::OnSample(SourceRole role, const v1::SampleTaken& sample) {
  absl::MutexLock lock(&mu_);
  Source& source = Of(role);
  const int64_t seq = sample.frame().frame_seq();
  const std::string file = FrameFile(FolderOf(sample.ranked_only()), seq);
  if (discarded_ || HasAllFrames()) {
    UnlinkFile(file).IgnoreError();
    return;
  }
  if (sample.masks_version() != masks_version_) {
    UnlinkFile(file).IgnoreError();
    CountMissed(source, "camera_unknown", 1);
    return;
  }
  if (seq <= source.frame_seq) {
    LogError("frame number used twice",
             {{"stream", stream_id_}, {"frame", seq}});
    return;
  }
  if (sample.has_look() && role == SourceRole::kMain) Judge(sample.look());
  CommitSample(source, sample);
  TrySealOpen(/*also_rest=*/Ended());
}

void StreamSession::Judge(const v1::PictureLook& look) {
  const v1::CameraCondition before = judge_.condition();
  if (!judge_.Observe(look)) return;
  const v1::CameraCondition now = judge_.condition();
  stream_.set_condition(now);
  *stream_.mutable_condition_since() = ToProto(clock_.Now());
  const bool first = before == v1::CAMERA_CONDITION_UNSPECIFIED;
  const LogFields fields = {{"stream", stream_id_},
                            {"camera_id", stream_.camera_id()},
                            {"condition", v1::CameraCondition_Name(now)},
                            {"mean", look.mean()},
                            {"contrast", look.contrast()},
                            {"clipped_share", look.clipped_share()},
                            {"sharpness", look.sharpness()}};
  if (now != v1::CAMERA_CONDITION_GOOD) {
    LogWarning("camera condition", fields);
  } else if (!first) {
    LogInfo("camera condition", fields);
  }
}

void StreamSession::CommitSample(Source& source,
                                 const v1::SampleTaken& sample) {
  const v1::FrameInfo& info = sample.frame();
  const int64_t seq = info.frame_seq();
  const std::string file = FrameFile(FolderOf(sample.ranked_only()), seq);
  const std::string latest = LatestFile(brightest_dir_, seq);
  const std::string bright = FrameFile(brightest_dir_, seq);
  const bool ranked_only = sample.ranked_only() || stream_.models().empty();
  const bool main = source.role == SourceRole::kMain;
  const BrightnessRanker::Decision rank =
      main ? ranker_.Consider(info) : BrightnessRanker::Decision();

  absl::Status status = main ? LinkFile(file, latest) : absl::OkStatus();
  if (status.ok() && rank.enters && file != bright) {
    status = LinkFile(file, bright);
  }
  if (status.ok()) {
    status = store_.AddFrame({.session_id = session_id_,
                              .info = info,
                              .detect = !main,
                              .ranked_only = ranked_only,
                              .enters_brightest = rank.enters,
                              .displaced_seq = rank.displaced_seq},
                             clock_.Now());
  }
  if (!status.ok()) {
    if (source.not_kept.empty()) {
      LogError("samples not kept",
               {{"stream", stream_id_}, {"status", status}});
    }
    source.not_kept = std::string(status.message());
    if (main) UnlinkFile(latest).IgnoreError();
    if (rank.enters) UnlinkFile(bright).IgnoreError();
    UnlinkFile(file).IgnoreError();
    CountMissed(source, "disk_error", 1);
    return;
  }
  if (!std::exchange(source.not_kept, "").empty()) {
    LogInfo("samples are kept again", {{"stream", stream_id_}});
  }
  source.frame_seq = seq;
  source.next_frame_seq = std::max(source.next_frame_seq, seq + 1);
  ++captured_;
  last_activity_ = clock_.Now();
  source.counted_until += source.grid_interval;
  source.last_frame_at = FromProto(info.captured_at());
  source.last_frame_steady = clock_.SteadyNow();
  if (main) {
    ranker_.Accept(info);
    if (rank.displaced_seq != 0) {
      UnlinkFile(FrameFile(brightest_dir_, rank.displaced_seq)).IgnoreError();
    }
    if (latest_.has_value()) {
      UnlinkFile(LatestFile(brightest_dir_, latest_->frame_seq()))
          .IgnoreError();
    }
    latest_ = info;
  }
  if (!ranked_only) {
    // In order of their numbers: at a change of sources one of the earlier may
    // come late.
    open_.insert(std::upper_bound(open_.begin(), open_.end(), info,
                                  [](const auto& a, const auto& b) {
                                    return a.frame_seq() < b.frame_seq();
                                  }),
                 info);
    AddSpoolBytes(info.size_bytes());
  } else if (!rank.enters || file != bright) {
    UnlinkFile(file).IgnoreError();
  }
  source.status.set_width(info.width());
  source.status.set_height(info.height());
  source.status.set_effective_mode(sample.effective_mode());
  source.status.set_gop_seconds(sample.gop_seconds());
  source.status.set_received_bytes(source.received_before +
                                   sample.received_bytes());
  CountUncounted().IgnoreError();
}

void StreamSession::CountMissed(Source& source, const std::string& reason,
                                int64_t count) {
  if (count <= 0) return;
  source.counted_until += count * source.grid_interval;
  const bool told = !uncounted_.empty();
  uncounted_[reason] += count;
  if (absl::Status status = CountUncounted(); !status.ok() && !told) {
    LogError("missed samples not counted",
             {{"stream", stream_id_}, {"status", status}});
  }
}

absl::Status StreamSession::CountUncounted() {
  while (!uncounted_.empty()) {
    const auto it = uncounted_.begin();
    const absl::Time now = clock_.Now();
    CAMHERD_RETURN_IF_ERROR(
        store_.AddMissed(session_id_, it->first, it->second, now));
    last_activity_ = now;
    uncounted_.erase(it);
  }
  return absl::OkStatus();
}

void StreamSession::OnMissed(SourceRole role, const v1::SamplesMissed& missed) {
  absl::MutexLock lock(&mu_);
  if (discarded_ || HasAllFrames()) return;
  const bool known = MissedReasons().count(missed.reason()) > 0;
  if (!known) {
    LogError("unknown reason for missed samples",
             {{"stream", stream_id_}, {"reason", missed.reason()}});
  }
  CountMissed(Of(role), known ? missed.reason() : "overload", missed.count());
}

void StreamSession::OnState(SourceRole role, const v1::StateChanged& state) {
  absl::MutexLock lock(&mu_);
  if (discarded_) return;
  Source& source = Of(role);
  v1::SourceStatus& status = source.status;
  source.lost = false;
  const absl::Time now = clock_.Now();
  if (status.state() != state.state()) {
    *status.mutable_state_since() = ToProto(now);
    LogState(source, state);
  }
  status.set_state(state.state());
  status.set_state_reason(MaskSecrets(state.reason()));
  source.worker_reason = status.state_reason();
  source.no_session = false;
  source.next_retry_at = state.retry_after_seconds() > 0
                             ? now + absl::Seconds(state.retry_after_seconds())
                             : absl::InfinitePast();
  if (!state.codec().empty()) status.set_codec(state.codec());
  const int64_t connects = source.connects_before + state.connects();
  const int64_t disconnects = source.disconnects_before + state.disconnects();
  const std::string host_ip =
      state.local_ip().empty() || role == SourceRole::kDetect
          ? host_ip_
          : state.local_ip();
  if (connects != status.connects() || disconnects != status.disconnects() ||
      host_ip != host_ip_) {
    status.set_connects(connects);
    status.set_disconnects(disconnects);
    host_ip_ = host_ip;
    store_
        .SaveConnection(session_id_, role == SourceRole::kDetect, host_ip_,
                        connects, disconnects)
        .IgnoreError();
  }
}

void StreamSession::SetState(Source& source, v1::StreamState state) {
  if (source.status.state() == state) return;
  source.status.set_state(state);
  *source.status.mutable_state_since() = ToProto(clock_.Now());
}

// Other states have more to say than that the next try is about to begin.
bool StreamSession::Connects(Source& source) {
  if (discarded_) return false;
  if (std::exchange(source.no_session, false)) {
    SetState(source, source.status.connects() > 0
                         ? v1::STREAM_STATE_RECONNECTING
                         : v1::STREAM_STATE_STARTING);
  }
  return source.status.state() == v1::STREAM_STATE_STARTING ||
         source.status.state() == v1::STREAM_STATE_RECONNECTING;
}

void StreamSession::OnWaits(SourceRole role) {
  absl::MutexLock lock(&mu_);
  Source& source = Of(role);
  if (!Connects(source)) return;
  source.status.set_state_reason("waits for its turn to connect");
  if (source.status.state() == v1::STREAM_STATE_RECONNECTING &&
      !source.worker_reason.empty()) {
    source.status.set_state_reason(absl::StrCat(
        source.status.state_reason(), "; before: ", source.worker_reason));
  }
}

void StreamSession::OnNoSession(SourceRole role, const std::string& reason) {
  absl::MutexLock lock(&mu_);
  if (discarded_) return;
  Source& source = Of(role);
  if (!source.no_session) {
    v1::StateChanged state;
    state.set_state(v1::STREAM_STATE_REFUSED);
    state.set_reason(reason);
    LogState(source, state);
  }
  source.no_session = true;
  SetState(source, v1::STREAM_STATE_REFUSED);
  source.status.set_state_reason(reason);
  source.next_retry_at = absl::InfinitePast();
}

void StreamSession::OnConnecting(SourceRole role) {
  absl::MutexLock lock(&mu_);
  Source& source = Of(role);
  if (Connects(source)) source.status.set_state_reason(source.worker_reason);
}

// One line when a state begins; its repetitions show in the state itself.
void StreamSession::LogState(const Source& source,
                             const v1::StateChanged& state) const {
  LogFields fields = {
      {"stream", SourceId{stream_id_, source.role}.ToString()},
      {"process_name", stream_.process_name()},
      {"state", absl::AsciiStrToLower(absl::StripPrefix(
                    v1::StreamState_Name(state.state()), "STREAM_STATE_"))}};
  if (state.state() == v1::STREAM_STATE_RUNNING) {
    fields.push_back({"codec", state.codec()});
    LogInfo("camera connected", fields);
  } else if (!state.reason().empty()) {
    fields.push_back({"reason", MaskSecrets(state.reason())});
    fields.push_back({"retry_seconds", state.retry_after_seconds()});
    LogWarning("camera not connected", fields);
  }
}

void StreamSession::OnLost(Source& source, const v1::StreamEnded& lost) {
  v1::SourceStatus& status = source.status;
  // The next worker counts from zero, and writes to the next frame's file.
  source.connects_before = status.connects();
  if (status.state() == v1::STREAM_STATE_RUNNING) {
    status.set_disconnects(status.disconnects() + 1);
  }
  source.disconnects_before = status.disconnects();
  source.received_before = status.received_bytes();
  const std::string& folder = FolderOf(source.role != Batched());
  for (const std::string& name : ListFolder(folder)) {
    // Of no frame yet, or half written.
    if (FrameSeqOf(name) >= source.next_frame_seq ||
        absl::EndsWith(name, ".tmp")) {
      UnlinkFile(absl::StrCat(folder, "/", name)).IgnoreError();
    }
  }
  CountUncounted().IgnoreError();
  source.lost = true;
  const absl::Time now = clock_.Now();
  if (status.state() == v1::STREAM_STATE_RUNNING) {
    SetState(source, v1::STREAM_STATE_RECONNECTING);
  }
  status.set_state_reason(MaskSecrets(lost.reason()));
  source.next_retry_at = lost.retry_after_seconds() > 0
                             ? now + absl::Seconds(lost.retry_after_seconds())
                             : absl::InfinitePast();
  source.quarantined_until =
      lost.quarantine_seconds() > 0
          ? now + absl::Seconds(lost.quarantine_seconds())
          : absl::InfinitePast();
  LogWarning("stream lost by its worker",
             {{"stream", SourceId{stream_id_, source.role}.ToString()},
              {"process_name", stream_.process_name()},
              {"reason", status.state_reason()},
              {"retry_seconds", lost.retry_after_seconds()},
              {"quarantine_seconds", lost.quarantine_seconds()}});
}

void StreamSession::OnEnded(SourceRole role, const v1::StreamEnded& ended) {
  absl::MutexLock lock(&mu_);
  Source& source = Of(role);
  if (ended.lost() && !discarded_ && stream_.desired_running() && Has(role)) {
    OnLost(source, ended);
    SetEnded(source, true);
    return;
  }
  if (discarded_) {
    RemoveFolder(spool_dir_);
    RemoveFolder(brightest_dir_);
  } else {
    CountUncounted().IgnoreError();
    if (std::exchange(source.lost, false)) CountLost(source);
    // One that comes again counts from zero.
    source.connects_before = source.status.connects();
    source.disconnects_before = source.status.disconnects();
    source.received_before = source.status.received_bytes();
    TrySealOpen(/*also_rest=*/true);
  }
  // Last: whoever waits for the end finds everything sealed.
  SetEnded(source, true);
  RemoveFoldersIfDone();
}

void StreamSession::TrySealOpen(bool also_rest) {
  // Frames that stay open are sealed with the next sample, or by CatchUp.
  if (absl::Status status = SealOpen(also_rest); !status.ok()) {
    LogError("batch not sealed", {{"stream", stream_id_}, {"status", status}});
  }
}

absl::Status StreamSession::SealOpen(bool also_rest) {
  const size_t batch_size = std::max(1, stream_.batch_size());
  while (open_.size() >= batch_size) {
    CAMHERD_RETURN_IF_ERROR(Seal(batch_size));
  }
  while (also_rest && !open_.empty()) {
    CAMHERD_RETURN_IF_ERROR(Seal(open_.size()));
  }
  return absl::OkStatus();
}

absl::Status StreamSession::Keep(const v1::FrameInfo& frame) {
  const std::string file = FrameFile(spool_dir_, frame.frame_seq());
  if (frame.frame_seq() > recovered_seq_) {
    return options_.sync ? SyncFile(file) : FileSize(file).status();
  }
  // A power cut leaves files that are named and have their length, and not
  // their bytes; and after an fsync that failed the next one says OK, whatever
  // the disk has. So what was not sealed then is looked at and written anew.
  const absl::StatusOr<std::string> jpeg = ReadFile(file, kMaxFrameBytes);
  if (absl::IsOutOfRange(jpeg.status())) {
    return absl::NotFoundError(jpeg.status().message());
  }
  CAMHERD_RETURN_IF_ERROR(jpeg.status());
  if (Sha256(*jpeg) != frame.sha256()) {
    return absl::NotFoundError(absl::StrCat(file, " is damaged"));
  }
  if (!options_.sync) return absl::OkStatus();
  return WriteFileAtomically(file, *jpeg, Sync::kData);
}

absl::Status StreamSession::Seal(size_t count) {
  std::vector<int64_t> lost;
  StreamStore::NewBatch batch;
  v1::BatchManifest manifest;
  for (size_t i = 0; i < count; ++i) {
    const v1::FrameInfo& frame = open_[i];
    const absl::Status status = Keep(frame);
    if (absl::IsNotFound(status)) {
      lost.push_back(frame.frame_seq());
    } else if (!status.ok()) {
      return status;
    }
    *manifest.add_frames() = frame;
    batch.frame_seqs.push_back(frame.frame_seq());
    batch.bytes += frame.size_bytes();
  }
  // The caller tries again with those that are left.
  if (!lost.empty()) return DropLostFrames(lost);
  if (options_.sync) CAMHERD_RETURN_IF_ERROR(SyncFile(spool_dir_));

  CAMHERD_ASSIGN_OR_RETURN(const v1::Accounting accounting,
                           store_.GetAccounting(session_id_));
  batch.key = {session_id_, batch_seq_ + 1};
  batch.sealed_at = clock_.Now();
  manifest.set_node_id(options_.node_id);
  manifest.set_epoch(stream_.epoch());
  manifest.set_stream_id(stream_id_);
  manifest.set_session_id(session_id_);
  manifest.set_camera_id(stream_.camera_id());
  manifest.set_batch_seq(batch.key.batch_seq);
  manifest.set_process_name(stream_.process_name());
  manifest.set_host_ip(options_.host_ip.empty() ? host_ip_ : options_.host_ip);
  *manifest.mutable_models() = stream_.models();
  *manifest.mutable_sealed_at() = ToProto(batch.sealed_at);
  manifest.set_interval_seconds(stream_.interval_seconds());
  manifest.set_frames_due(accounting.due());
  manifest.set_frames_missed(Total(accounting.missed()));
  batch.manifest = manifest.SerializeAsString();
  batch.manifest_sha256 = Sha256(batch.manifest);
  CAMHERD_ASSIGN_OR_RETURN(const absl::Time place, store_.SealBatch(batch));
  batch_seq_ = batch.key.batch_seq;
  open_.erase(open_.begin(), open_.begin() + count);
  pending_[batch_seq_] = clock_.SteadyNow();
  sender_.Add(batch.key, place, /*fate_unknown=*/false);
  return absl::OkStatus();
}

absl::Status StreamSession::DropLostFrames(const std::vector<int64_t>& seqs) {
  LogError("frame files lost",
           {{"stream", stream_id_}, {"frames", seqs.size()}});
  CAMHERD_RETURN_IF_ERROR(store_.DropFrames(session_id_, seqs, "file_lost"));
  const std::set<int64_t> gone(seqs.begin(), seqs.end());
  for (const v1::FrameInfo& frame : open_) {
    if (gone.count(frame.frame_seq()) > 0) AddSpoolBytes(-frame.size_bytes());
  }
  open_.erase(std::remove_if(open_.begin(), open_.end(),
                             [&](const v1::FrameInfo& frame) {
                               return gone.count(frame.frame_seq()) > 0;
                             }),
              open_.end());
  return absl::OkStatus();
}

void StreamSession::MasksChanged(bool forget) {
  absl::MutexLock lock(&mu_);
  ++masks_version_;
  if (!forget || discarded_) return;
  for (const v1::FrameInfo& frame : ranker_.frames()) {
    // A row without a file goes when the service starts.
    UnlinkFile(FrameFile(brightest_dir_, frame.frame_seq())).IgnoreError();
    store_.RemoveBrightest(session_id_, frame.frame_seq()).IgnoreError();
  }
  ranker_ = BrightnessRanker();
}

absl::Status StreamSession::Update(const v1::Stream& spec, const CameraUrl& url,
                                   const std::optional<CameraUrl>& detect_url) {
  absl::MutexLock lock(&mu_);
  v1::Stream updated = stream_;
  updated.set_rtsp_url(url.Masked());
  updated.set_detect_url(detect_url.has_value() ? detect_url->Masked() : "");
  updated.set_interval_seconds(spec.interval_seconds());
  updated.set_sampling_mode(spec.sampling_mode());
  updated.set_transport(spec.transport());
  updated.set_tls_verify(spec.tls_verify());
  updated.set_max_frames(spec.max_frames());
  updated.set_ttl_seconds(spec.ttl_seconds());
  if (spec.ttl_seconds() == 0) {
    updated.clear_expires_at();
  } else if (!spec.has_expires_at()) {
    *updated.mutable_expires_at() =
        ToProto(clock_.Now() + absl::Seconds(spec.ttl_seconds()));
  }
  *updated.mutable_models() = spec.models();
  const bool other_source = Has(SourceRole::kDetect) != detect_url.has_value();
  if (updated.SerializeAsString() == stream_.SerializeAsString() &&
      main_.url == url && (!detect_url || detect_.url == detect_url)) {
    return absl::OkStatus();
  }
  if (other_source && detect_url.has_value() && !detect_.ended) {
    return absl::UnavailableError(
        "the worker has not left the earlier detect_url yet, try again in a "
        "moment");
  }
  if (other_source ||
      !std::equal(updated.models().begin(), updated.models().end(),
                  stream_.models().begin(), stream_.models().end())) {
    CAMHERD_RETURN_IF_ERROR(SealOpen(/*also_rest=*/true));
  }
  CAMHERD_RETURN_IF_ERROR(store_.UpdateStream(
      updated, url.Full(), detect_url.has_value() ? detect_url->Full() : ""));
  const bool lease = !spec.has_expires_at();
  stream_ = std::move(updated);
  SetUrl(main_, url);
  if (other_source) {
    // What an earlier second source left is not due.
    detect_.url.reset();
    detect_.stored_url.clear();
    detect_.grid_interval = absl::ZeroDuration();
    detect_.lost = false;
    Of(Batched()).next_frame_seq =
        std::max(main_.next_frame_seq, detect_.next_frame_seq) +
        kFramesUnderWay;
  }
  if (detect_url.has_value()) SetUrl(detect_, *detect_url);
  if (lease) SetLeaseEnd();
  return absl::OkStatus();
}

bool StreamSession::HasAllFrames() const {
  return stream_.max_frames() > 0 && captured_ >= stream_.max_frames();
}

void StreamSession::SetLeaseEnd() {
  if (!stream_.has_expires_at()) return;
  lease_end_ =
      clock_.SteadyNow() + (FromProto(stream_.expires_at()) - clock_.Now());
}

std::string StreamSession::LeaseOver() {
  absl::MutexLock lock(&mu_);
  if (discarded_ || !stream_.desired_running()) return "";
  if (HasAllFrames()) {
    return absl::StrCat("it captured its ", stream_.max_frames(), " frames");
  }
  if (!stream_.has_expires_at()) return "";
  if (clock_.SteadyNow() >= lease_end_) {
    return absl::StrFormat("its lease of %.15g s ended", stream_.ttl_seconds());
  }
  FollowHostClock();
  return "";
}

void StreamSession::FollowHostClock() {
  const absl::Time end = clock_.Now() + (lease_end_ - clock_.SteadyNow());
  if (absl::AbsDuration(end - FromProto(stream_.expires_at())) < kClockSlack) {
    return;
  }
  v1::Stream moved = stream_;
  *moved.mutable_expires_at() = ToProto(end);
  // What fails is tried again at the next look.
  if (store_.UpdateStream(moved, main_.stored_url, detect_.stored_url).ok()) {
    stream_ = std::move(moved);
  }
}

absl::Status StreamSession::MarkStopped(const std::string& reason) {
  absl::MutexLock lock(&mu_);
  v1::Stream stopped = stream_;
  stopped.set_desired_running(false);
  *stopped.mutable_stopped_at() = ToProto(clock_.Now());
  CAMHERD_RETURN_IF_ERROR(store_.UpdateStream(stopped, main_.stored_url,
                                              detect_.stored_url, reason));
  stream_ = std::move(stopped);
  stop_reason_ = reason;
  // Where no worker has it, nothing else comes.
  RemoveFoldersIfDone();
  return absl::OkStatus();
}

bool StreamSession::AwaitEnded(absl::Duration timeout) {
  std::unique_lock<std::mutex> lock(ended_mu_);
  return ended_changed_.wait_for(
      lock, absl::ToChronoNanoseconds(timeout),
      [this] { return main_ended_told_ && detect_ended_told_; });
}

bool StreamSession::AwaitEnded(SourceRole role, absl::Duration timeout) {
  std::unique_lock<std::mutex> lock(ended_mu_);
  const bool& told =
      role == SourceRole::kMain ? main_ended_told_ : detect_ended_told_;
  return ended_changed_.wait_for(lock, absl::ToChronoNanoseconds(timeout),
                                 [&told] { return told; });
}

absl::Status StreamSession::SealAll() {
  absl::MutexLock lock(&mu_);
  if (discarded_) return absl::OkStatus();
  return SealOpen(/*also_rest=*/true);
}

void StreamSession::Discard() {
  absl::MutexLock lock(&mu_);
  discarded_ = true;
  open_.clear();
  AddSpoolBytes(-spool_bytes_);
  RemoveFolder(spool_dir_);
  RemoveFolder(brightest_dir_);
}

void StreamSession::RemoveFoldersIfDone() {
  if (stream_.desired_running() || !Ended() || !pending_.empty() ||
      !open_.empty()) {
    return;
  }
  RemoveEmptyFolder(spool_dir_);
}

absl::StatusOr<OutgoingBatch> StreamSession::LoadBatch(const BatchKey& key) {
  CAMHERD_ASSIGN_OR_RETURN(StreamStore::NewBatch stored, store_.GetBatch(key));
  OutgoingBatch batch;
  batch.manifest = std::move(stored.manifest);
  batch.manifest_sha256 = std::move(stored.manifest_sha256);
  for (const int64_t seq : stored.frame_seqs) {
    batch.frame_files.push_back(FrameFile(spool_dir_, seq));
  }
  return batch;
}

absl::Status StreamSession::BatchRecorded(
    const BatchKey& key, const v1::InferBatchResponse& answer) {
  absl::MutexLock lock(&mu_);
  CAMHERD_ASSIGN_OR_RETURN(const StreamStore::NewBatch batch,
                           store_.GetBatch(key));
  v1::BatchManifest manifest;
  manifest.ParseFromString(batch.manifest);
  std::optional<v1::GetLatestFrameResponse> acknowledged;
  if (!manifest.frames().empty()) {
    const int last = manifest.frames_size() - 1;
    const v1::FrameInfo& info = manifest.frames(last);
    if (!acknowledged_.has_value() ||
        acknowledged_->frame().info().frame_seq() < info.frame_seq()) {
      acknowledged.emplace();
      *acknowledged->mutable_frame()->mutable_info() = info;
      for (const v1::ModelResult& result : answer.results()) {
        for (const v1::Detection& detection : result.detections()) {
          if (detection.frame_index() == last) {
            *acknowledged->add_detections() = detection;
          }
        }
      }
      if (!LinkFile(FrameFile(spool_dir_, info.frame_seq()),
                    AcknowledgedFile(brightest_dir_, info.frame_seq()))
               .ok()) {
        acknowledged.reset();
      }
    }
  }
  CAMHERD_RETURN_IF_ERROR(store_.BatchRecorded(key, acknowledged));
  for (const int64_t seq : batch.frame_seqs) {
    UnlinkFile(FrameFile(spool_dir_, seq)).IgnoreError();
  }
  if (acknowledged.has_value()) {
    if (acknowledged_.has_value()) {
      UnlinkFile(AcknowledgedFile(brightest_dir_,
                                  acknowledged_->frame().info().frame_seq()))
          .IgnoreError();
    }
    acknowledged_ = std::move(acknowledged);
  }
  AddSpoolBytes(-batch.bytes);
  pending_.erase(key.batch_seq);
  sending_reason_.clear();
  RemoveFoldersIfDone();
  return absl::OkStatus();
}

absl::Status StreamSession::BatchDropped(const BatchKey& key,
                                         const std::string& reason) {
  absl::MutexLock lock(&mu_);
  CAMHERD_ASSIGN_OR_RETURN(const StreamStore::NewBatch batch,
                           store_.GetBatch(key));
  CAMHERD_RETURN_IF_ERROR(store_.BatchDropped(key, reason));
  for (const int64_t seq : batch.frame_seqs) {
    UnlinkFile(FrameFile(spool_dir_, seq)).IgnoreError();
  }
  AddSpoolBytes(-batch.bytes);
  pending_.erase(key.batch_seq);
  if (pending_.empty()) sending_reason_.clear();
  RemoveFoldersIfDone();
  return absl::OkStatus();
}

void StreamSession::BatchDelayed(const absl::Status& why) {
  absl::MutexLock lock(&mu_);
  sending_reason_ =
      absl::StrCat(absl::StatusCodeToString(why.code()), ": ",
                   MaskSecrets({why.message().data(), why.message().size()}));
}

v1::SourceStatus StreamSession::StatusOf(const Source& source) const {
  v1::SourceStatus status = source.status;
  status.set_last_frame_age_seconds(-1);
  if (source.last_frame_at.has_value()) {
    *status.mutable_last_frame_at() = ToProto(*source.last_frame_at);
    status.set_last_frame_age_seconds(
        absl::ToDoubleSeconds(clock_.SteadyNow() - source.last_frame_steady));
  }
  if (!stream_.desired_running()) return status;
  if (source.quarantined_until > clock_.Now()) {
    *status.mutable_quarantined_until() = ToProto(source.quarantined_until);
  }
  if (source.next_retry_at != absl::InfinitePast()) {
    *status.mutable_next_retry_at() = ToProto(source.next_retry_at);
  }
  return status;
}

void StreamSession::FillSources(v1::Stream& stream) const {
  const v1::SourceStatus main = StatusOf(main_);
  stream.set_state(main.state());
  stream.set_state_reason(main.state_reason());
  *stream.mutable_state_since() = main.state_since();
  if (main.has_next_retry_at()) {
    *stream.mutable_next_retry_at() = main.next_retry_at();
  }
  if (main.has_last_frame_at()) {
    *stream.mutable_last_frame_at() = main.last_frame_at();
  }
  stream.set_last_frame_age_seconds(main.last_frame_age_seconds());
  stream.set_codec(main.codec());
  stream.set_width(main.width());
  stream.set_height(main.height());
  stream.set_gop_seconds(main.gop_seconds());
  stream.set_effective_mode(main.effective_mode());
  stream.set_connects(main.connects());
  stream.set_disconnects(main.disconnects());
  stream.set_received_bytes(main.received_bytes());
  if (main.has_quarantined_until()) {
    *stream.mutable_quarantined_until() = main.quarantined_until();
  }
  if (!Has(SourceRole::kDetect)) return;
  const v1::SourceStatus& detect = *stream.mutable_detect() = StatusOf(detect_);
  const auto in_trouble = [](const v1::SourceStatus& status) {
    return status.state() != v1::STREAM_STATE_RUNNING ||
           !status.state_reason().empty();
  };
  if (in_trouble(main) || !in_trouble(detect)) return;
  stream.set_state(detect.state());
  stream.set_state_reason(absl::StrCat(
      "detect_url: ", detect.state_reason().empty() ? "not connected yet"
                                                    : detect.state_reason()));
  *stream.mutable_state_since() = detect.state_since();
  if (detect.has_next_retry_at()) {
    *stream.mutable_next_retry_at() = detect.next_retry_at();
  }
}

void StreamSession::FillObserved(v1::Stream& stream) const {
  FillSources(stream);
  stream.set_batches_pending(static_cast<int>(pending_.size()));
  stream.set_sending_reason(sending_reason_);
  stream.set_brightest_count(static_cast<int>(ranker_.frames().size()));
  stream.set_spool_bytes(spool_bytes_);
  stream.set_node_id(options_.node_id);
  stream.set_effective_interval_seconds(absl::ToDoubleSeconds(Interval()));
  if (latest_.has_value()) stream.set_last_frame_luma(latest_->mean_luma());
  if (stream.desired_running()) {
    if (stream.state() == v1::STREAM_STATE_RUNNING) {
      const std::string reason = SpoolReason();
      const absl::string_view also =
          reason.empty() || stream.state_reason().empty() ? "" : "; ";
      stream.set_state_reason(
          absl::StrCat(stream.state_reason(), also, reason));
    }
    const std::string& not_kept =
        main_.not_kept.empty() ? detect_.not_kept : main_.not_kept;
    if (!not_kept.empty()) {
      stream.set_state_reason(absl::StrCat(
          stream.state_reason(), stream.state_reason().empty() ? "" : "; ",
          "samples cannot be kept: ", not_kept));
    }
    return;
  }
  *stream.mutable_state_since() = stream.stopped_at();
  if (!Ended() || !pending_.empty() || !open_.empty()) {
    stream.set_state(v1::STREAM_STATE_STOPPING);
    stream.set_state_reason(absl::StrCat(
        stop_reason_, stop_reason_.empty() ? "" : "; ",
        Ended() ? absl::StrCat(pending_.size(), " batches wait to be recorded")
                : "the camera is being left"));
  } else {
    stream.set_state(v1::STREAM_STATE_STOPPED);
    stream.set_state_reason(stop_reason_);
  }
  if (stream.has_detect()) {
    stream.mutable_detect()->set_state(stream.state());
    stream.mutable_detect()->clear_state_reason();
    *stream.mutable_detect()->mutable_state_since() = stream.state_since();
  }
}

absl::StatusOr<v1::Stream> StreamSession::Snapshot() {
  absl::MutexLock lock(&mu_);
  v1::Stream stream = stream_;
  FillObserved(stream);
  CAMHERD_ASSIGN_OR_RETURN(*stream.mutable_accounting(),
                           store_.GetAccounting(session_id_));
  return stream;
}

v1::Stream StreamSession::Spec() const {
  absl::MutexLock lock(&mu_);
  v1::Stream stream = stream_;
  FillObserved(stream);
  return stream;
}

std::optional<CameraUrl> StreamSession::url(SourceRole role) const {
  absl::MutexLock lock(&mu_);
  return Of(role).url;
}

bool StreamSession::has_source(SourceRole role) const {
  absl::MutexLock lock(&mu_);
  return Has(role);
}

v1::SourceStatus StreamSession::status(SourceRole role) const {
  absl::MutexLock lock(&mu_);
  return StatusOf(Of(role));
}

int64_t StreamSession::received_bytes() const {
  absl::MutexLock lock(&mu_);
  return main_.status.received_bytes() + detect_.status.received_bytes();
}

bool StreamSession::desired_running() const {
  absl::MutexLock lock(&mu_);
  return stream_.desired_running();
}

bool StreamSession::uses_spool() const {
  absl::MutexLock lock(&mu_);
  return !stream_.models().empty();
}

bool StreamSession::draining() const {
  absl::MutexLock lock(&mu_);
  return !pending_.empty() || !open_.empty();
}

int64_t StreamSession::spool_bytes() const {
  absl::MutexLock lock(&mu_);
  return spool_bytes_;
}

int64_t StreamSession::open_frames() const {
  absl::MutexLock lock(&mu_);
  return static_cast<int64_t>(open_.size());
}

std::set<int64_t> StreamSession::BatchesSealedFor(absl::Duration age) const {
  absl::MutexLock lock(&mu_);
  const absl::Duration latest = clock_.SteadyNow() - age;
  std::set<int64_t> batches;
  for (const auto& [seq, sealed] : pending_) {
    if (sealed < latest) batches.insert(seq);
  }
  return batches;
}

std::vector<v1::PauseSampling> StreamSession::SetPaused(
    const std::string& reason) {
  absl::MutexLock lock(&mu_);
  paused_for_ = reason;
  std::vector<v1::PauseSampling> news;
  for (const Source* source : {&main_, &detect_}) {
    if (Has(source->role) && source->told_pause != PauseReason(*source)) {
      news.push_back(TellPause(source->role));
    }
  }
  return news;
}

v1::PauseSampling StreamSession::PauseOf(SourceRole role) {
  absl::MutexLock lock(&mu_);
  return TellPause(role);
}

std::string StreamSession::PauseReason(const Source& source) const {
  const bool waits = paused_for_ != kSpoolFull || source.role == Batched();
  return waits ? paused_for_ : "";
}

v1::PauseSampling StreamSession::TellPause(SourceRole role) {
  Source& source = Of(role);
  source.told_pause = PauseReason(source);
  v1::PauseSampling pause;
  pause.set_stream_id(SourceId{stream_id_, role}.ToString());
  pause.set_paused(!source.told_pause.empty());
  pause.set_reason(source.told_pause);
  return pause;
}

std::string StreamSession::paused_for() const {
  absl::MutexLock lock(&mu_);
  return paused_for_;
}

void StreamSession::SetWidened(int widened) {
  absl::MutexLock lock(&mu_);
  widened_ = widened;
}

int StreamSession::widened() const {
  absl::MutexLock lock(&mu_);
  return widened_;
}

absl::Duration StreamSession::Interval() const {
  return std::min(widened_ * absl::Seconds(stream_.interval_seconds()),
                  absl::Seconds(kMaxIntervalSeconds));
}

std::string StreamSession::SpoolReason() const {
  if (paused_for_ == kDiskFull) return "no picture is taken: the disk is full";
  if (!paused_for_.empty()) return "no picture is taken: the spool is full";
  if (widened_ == 1) return "";
  return absl::StrFormat(
      "a sample every %.15g s instead of %.15g s while the spool is filled",
      absl::ToDoubleSeconds(Interval()), stream_.interval_seconds());
}

absl::StatusOr<std::vector<v1::Frame>> StreamSession::BrightestFrames() {
  absl::MutexLock lock(&mu_);
  std::vector<v1::Frame> frames;
  for (const v1::FrameInfo& info : ranker_.frames()) {
    const std::string file = FrameFile(brightest_dir_, info.frame_seq());
    absl::StatusOr<std::string> jpeg = ReadFile(file, kMaxFrameBytes);
    if (jpeg.ok() && Sha256(*jpeg) != info.sha256()) {
      jpeg = absl::DataLossError(absl::StrCat(file, " is damaged"));
    }
    // One that a power cut took is no reason for none of the others.
    if (!jpeg.ok()) {
      LogWarning("one of the brightest frames is lost",
                 {{"stream", stream_id_}, {"error", jpeg.status()}});
      continue;
    }
    v1::Frame frame;
    *frame.mutable_info() = info;
    *frame.mutable_jpeg() = *std::move(jpeg);
    frames.push_back(std::move(frame));
  }
  return frames;
}

v1::Grid StreamSession::GridCells() {
  absl::MutexLock lock(&mu_);
  if (grid_.has_value()) return *grid_;
  v1::Grid grid;
  grid.set_session_id(stream_.session_id());
  grid.set_process_name(stream_.process_name());
  grid.mutable_cells()->Assign(ranker_.frames().begin(),
                               ranker_.frames().end());
  return grid;
}

absl::StatusOr<v1::GetLatestFrameResponse> StreamSession::LatestFrame(
    bool acknowledged) {
  absl::MutexLock lock(&mu_);
  v1::GetLatestFrameResponse response;
  std::string file;
  if (acknowledged && acknowledged_.has_value()) {
    response = *acknowledged_;
    file =
        AcknowledgedFile(brightest_dir_, response.frame().info().frame_seq());
  } else if (!acknowledged && latest_.has_value()) {
    *response.mutable_frame()->mutable_info() = *latest_;
    file = LatestFile(brightest_dir_, latest_->frame_seq());
  } else {
    return absl::NotFoundError(absl::StrCat(
        "stream ", stream_.process_name(),
        acknowledged ? " has no recorded frame yet" : " has no frame yet"));
  }
  CAMHERD_ASSIGN_OR_RETURN(*response.mutable_frame()->mutable_jpeg(),
                           ReadFile(file, kMaxFrameBytes));
  response.set_age_seconds(std::max(
      0.0,
      absl::ToDoubleSeconds(clock_.Now() -
                            FromProto(response.frame().info().captured_at()))));
  return response;
}

bool StreamSession::owes_grid() const {
  absl::MutexLock lock(&mu_);
  return !discarded_ && !stop_reason_.empty() && !grid_.has_value() &&
         ranker_.frames().size() >= BrightnessRanker::kKept;
}

std::optional<v1::RenderGridResponse> StreamSession::StoredGrid() {
  absl::MutexLock lock(&mu_);
  if (!grid_.has_value()) return std::nullopt;
  auto jpeg = ReadFile(GridFile(brightest_dir_), kMaxFrameBytes);
  if (!jpeg.ok()) return std::nullopt;
  v1::RenderGridResponse response;
  *response.mutable_grid() = *grid_;
  response.set_jpeg(*std::move(jpeg));
  return response;
}

void StreamSession::StoreGrid(const v1::RenderGridResponse& grid) {
  absl::MutexLock lock(&mu_);
  if (discarded_) return;
  const absl::Status status =
      WriteFileAtomically(GridFile(brightest_dir_), grid.jpeg(), Sync::kNone);
  if (status.ok() && store_.SetGrid(session_id_, grid.grid()).ok()) {
    grid_ = grid.grid();
  }
}

}  // namespace camherd::capture
