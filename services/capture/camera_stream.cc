// SPDX-License-Identifier: Apache-2.0
#include "services/capture/camera_stream.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "services/common/log.h"

namespace camherd::capture {
namespace {

// An infinite wait in chrono's terms.
constexpr absl::Duration kLongestSleep = absl::Hours(24);
// What waits in the pool at a revocation is decoded for so long.
constexpr absl::Duration kLastDecoding = absl::Seconds(1);

absl::string_view CodecName(Codec codec) {
  switch (codec) {
    case Codec::kH264:
      return "h264";
    case Codec::kH265:
      return "h265";
    case Codec::kMjpeg:
      return "mjpeg";
    case Codec::kMpeg4:
      return "mpeg4";
  }
  return "";
}

v1::StreamState StateFor(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kUnauthenticated:
      return v1::STREAM_STATE_AUTH_FAILED;
    case absl::StatusCode::kNotFound:
      return v1::STREAM_STATE_NOT_FOUND;
    case absl::StatusCode::kFailedPrecondition:
      return v1::STREAM_STATE_NO_VIDEO;
    case absl::StatusCode::kUnimplemented:
      return v1::STREAM_STATE_UNSUPPORTED_CODEC;
    case absl::StatusCode::kResourceExhausted:
      return v1::STREAM_STATE_REFUSED;
    default:
      return v1::STREAM_STATE_RECONNECTING;
  }
}

FramePicker::Options PickerOptions(const v1::AssignStream& assignment,
                                   const StreamWorker::Options& options) {
  FramePicker::Options picker;
  picker.schedule.interval = absl::Seconds(assignment.interval_seconds());
  picker.schedule.phase = absl::Seconds(assignment.phase_seconds());
  picker.mode = assignment.sampling_mode();
  picker.gop_max_bytes = options.gop_max_bytes;
  return picker;
}

}  // namespace

CameraStream::CameraStream(const Context& context,
                           const v1::AssignStream& assignment,
                           std::shared_ptr<CameraStream> predecessor)
    : context_(context),
      stream_id_(assignment.stream_id()),
      tag_(assignment.stream_id()),
      predecessor_(std::move(predecessor)),
      strand_(context.pool.MakeStrand()),
      writer_({.sync_frames = context.options.sync_frames,
               .given_up = [this] { return GivenUp(); },
               .on_taken =
                   [this](v1::SampleTaken sample) {
                     v1::FromWorker event;
                     *event.mutable_sample() = std::move(sample);
                     Emit(event);
                   },
               .on_missed =
                   [this](absl::string_view reason) { EmitMissed(1, reason); },
               .on_disk = [this](const absl::Status& s) { OnDisk(s); }}),
      backoff_({.initial = context.options.retry_initial,
                .soon_max = context.options.retry_soon_max,
                .max = context.options.retry_max,
                .slow = context.options.retry_slow}) {
  Assign(assignment);
  thread_ = std::thread([this] { Run(); });
}

CameraStream::~CameraStream() {
  Revoke();
  Join();
}

void CameraStream::Assign(const v1::AssignStream& assignment) {
  absl::MutexLock lock(&mu_);
  next_assignment_ = assignment;
  changed_ = true;
  if (assignment.url() != source_url_ || assignment.transport() != transport_ ||
      assignment.tls_verify() != tls_verify_) {
    source_url_ = assignment.url();
    transport_ = assignment.transport();
    tls_verify_ = assignment.tls_verify();
    reconnect_ = true;
    if (source_ != nullptr) source_->Cancel();
  }
  Wake();
}

void CameraStream::Pause(bool paused, const std::string& reason) {
  absl::MutexLock lock(&mu_);
  next_paused_ = paused;
  next_pause_reason_ = reason;
  changed_ = true;
  Wake();
}

void CameraStream::Grant(int64_t request) {
  absl::MutexLock lock(&mu_);
  if (request != request_) return;
  granted_ = true;
  Wake();
}

void CameraStream::Revoke() {
  absl::MutexLock lock(&mu_);
  if (!revoked_) give_up_at_ = context_.clock.SteadyNow() + kLastDecoding;
  revoked_ = true;
  if (source_ != nullptr) source_->Cancel();
  Wake();
}

void CameraStream::Join() {
  if (thread_.joinable()) thread_.join();
}

bool CameraStream::ended() const {
  absl::MutexLock lock(&mu_);
  return ended_;
}

bool CameraStream::Revoked() const {
  absl::MutexLock lock(&mu_);
  return revoked_;
}

bool CameraStream::GivenUp() const {
  absl::MutexLock lock(&mu_);
  return revoked_ && context_.clock.SteadyNow() >= give_up_at_;
}

void CameraStream::Run() {
  if (predecessor_ != nullptr) {
    predecessor_->Join();
    predecessor_ = nullptr;
  }
  ApplyAssignment();
  ChangeState([](v1::StateChanged& state) {
    state.set_state(v1::STREAM_STATE_STARTING);
    state.set_reason("connecting");
  });
  while (!Revoked()) {
    ApplyAssignment();
    std::optional<Ended> ended;
    if (AwaitGrant()) ended = Connection();
    EmitConnectionClosed();
    if (ended) BackOff(*ended);
  }
  EndSequence();
  context_.pool.Drain(strand_);
  v1::FromWorker event;
  event.mutable_ended();
  Emit(event);
  absl::MutexLock lock(&mu_);
  ended_ = true;
}

bool CameraStream::AwaitGrant() {
  v1::FromWorker event;
  v1::ConnectWanted& wanted = *event.mutable_connect_wanted();
  // Bad settings are told by Connection, without a connect.
  if (url_) wanted.set_host(url_->host());
  {
    absl::MutexLock lock(&mu_);
    reconnect_ = reconnect_ && changed_;
    granted_ = false;
    wanted.set_request(++request_);
  }
  Emit(event);
  WaitUntil(absl::InfiniteDuration());
  absl::MutexLock lock(&mu_);
  return granted_ && !revoked_ && !reconnect_;
}

void CameraStream::EmitConnectionClosed() {
  v1::FromWorker event;
  {
    absl::MutexLock lock(&mu_);
    granted_ = false;
    event.mutable_connection_closed()->set_request(request_);
  }
  Emit(event);
}

std::optional<CameraStream::Ended> CameraStream::Connection() {
  if (!url_ || !picker_) {
    // The supervisor checks what it assigns; this is the last net.
    return Ended{
        absl::InvalidArgumentError("the stream's settings are invalid")};
  }
  PacketSource::Options options;
  options.transport = assignment_.transport() == v1::TRANSPORT_UNSPECIFIED
                          ? v1::TRANSPORT_TCP
                          : assignment_.transport();
  options.connect_timeout = context_.options.connect_timeout;
  options.stall_timeout = context_.options.stall_timeout;
  options.tls_verify = assignment_.tls_verify();
  options.tls_ca_file = context_.options.tls_ca_file;
  const std::unique_ptr<PacketSource> source = context_.sources(*url_, options);
  {
    absl::MutexLock lock(&mu_);
    // Another source that came in since is taken over first.
    if (revoked_ || reconnect_) return std::nullopt;
    source_ = source.get();
  }
  absl::StatusOr<VideoParameters> parameters = [&] {
    const TaskScope scope(
        tag_, context_.options.connect_timeout + context_.options.hang_after,
        context_.clock);
    return source->Open();
  }();
  Ended ended;
  if (parameters.ok()) {
    parameters_ = *std::move(parameters);
    bytes_before_ = received_bytes_;
    ended = ReadUntilItEnds(*source);
  } else {
    ended.status = parameters.status();
  }
  absl::MutexLock lock(&mu_);
  source_ = nullptr;
  return ended;
}

CameraStream::Ended CameraStream::ReadUntilItEnds(PacketSource& source) {
  picker_->Connected(parameters_.codec);
  const absl::Duration since = context_.clock.SteadyNow();
  Ended ended;
  while (true) {
    absl::StatusOr<AccessUnit> unit = [&] {
      const TaskScope scope(tag_,
                            std::max(context_.options.connect_timeout,
                                     context_.options.stall_timeout) +
                                context_.options.hang_after,
                            context_.clock);
      return source.Read();
    }();
    if (!unit.ok()) {
      ended.status = unit.status();
      break;
    }
    received_bytes_ = bytes_before_ + source.received_bytes();
    ApplyAssignment();
    if (!ended.was_running) {
      ended.was_running = true;
      Dispatch(picker_->Away(unit->arrival));
      ChangeState([&](v1::StateChanged& state) {
        emit_mu_.AssertHeld();
        state.set_state(v1::STREAM_STATE_RUNNING);
        state.set_reason(RunningReason());
        state.set_retry_after_seconds(0);
        state.set_codec(std::string(CodecName(parameters_.codec)));
        state.set_local_ip(source.local_ip());
        state.set_connects(state.connects() + 1);
      });
    }
    OnAccessUnit(*unit);
  }
  const absl::Duration now = context_.clock.SteadyNow();
  Dispatch(picker_->Disconnected(now));
  if (now - since >= context_.options.healthy_after) backoff_.Reset();
  return ended;
}

void CameraStream::OnAccessUnit(const AccessUnit& unit) {
  if (writer_.delay() >= 0) picker_->set_delay(writer_.delay());
  picker_->set_shown(writer_.shown_sequence());
  Dispatch(picker_->OnAccessUnit(unit));
}

void CameraStream::Dispatch(FramePicker::Picked picked) {
  for (DecodeTask& task : picked.tasks) Submit(std::move(task));
  for (const FramePicker::Missed& missed : picked.missed) {
    EmitMissed(missed.count,
               !PauseReason().empty() && missed.reason != kMissedNotConnected
                   ? PauseReason()
                   : missed.reason);
  }
  if (picked.gop_overflow && !overflow_told_) {
    overflow_told_ = true;
    LogWarning("GOP too large to wait undecoded; decoding as it is received",
               {{"stream", stream_id_},
                {"gop_max_bytes", context_.options.gop_max_bytes}});
  }
  if (picked.end_sequence) {
    EndSequence();
  }
}

absl::string_view CameraStream::PauseReason() const {
  if (assignment_.camera_unknown()) return kMissedCameraUnknown;
  return paused_ ? absl::string_view(pause_reason_) : absl::string_view();
}

void CameraStream::EndSequence() {
  context_.pool.Add(strand_, [this](DecodeThread&) {
    const TaskScope scope(tag_, context_.options.hang_after, context_.clock);
    writer_.EndSequence();
  });
}

void CameraStream::Submit(DecodeTask task) {
  const bool sample = task.sample;
  if (sample && !PauseReason().empty()) {
    EmitMissed(1, PauseReason());
    picker_->TakeBack(std::move(task));
    return;
  }
  SampleWriter::Stream stream;
  stream.parameters = parameters_;
  stream.spool_dir = assignment_.spool_dir();
  stream.ranked_only = assignment_.ranked_only();
  stream.effective_mode = picker_->effective_mode();
  stream.gop = picker_->gop();
  stream.received_bytes = received_bytes_;
  // shared_ptr: the pool's tasks are copyable functions.
  auto shared = std::make_shared<DecodeTask>(std::move(task));
  const bool added = context_.pool.TryAdd(strand_, [this, shared, stream](
                                                       DecodeThread& thread) {
    const TaskScope scope(tag_, context_.options.hang_after, context_.clock);
    writer_.Run(*shared, stream, thread);
  });
  if (added) return;
  if (sample) EmitMissed(1, kMissedOverload);
  picker_->TakeBack(std::move(*shared));
}

void CameraStream::BackOff(const Ended& ended) {
  bool by_us = false;
  {
    absl::MutexLock lock(&mu_);
    if (revoked_) return;
    by_us = reconnect_;
  }
  // Before the state is told: the pause runs from then on.
  const absl::Duration now = context_.clock.SteadyNow();
  absl::Duration pause;
  if (by_us) {
    backoff_.Reset();
  } else {
    pause = backoff_.Next(ended.status.code(), now);
  }
  ChangeState([&](v1::StateChanged& state) {
    state.set_state(by_us ? v1::STREAM_STATE_RECONNECTING
                          : StateFor(ended.status.code()));
    state.set_reason(by_us ? "the source was changed"
                           : std::string(ended.status.message()));
    state.set_retry_after_seconds(absl::ToDoubleSeconds(pause));
    if (ended.was_running) state.set_disconnects(state.disconnects() + 1);
  });
  WaitUntil(now + pause);
}

void CameraStream::WaitUntil(absl::Duration until) {
  while (true) {
    ApplyAssignment();
    const absl::Duration now = context_.clock.SteadyNow();
    absl::Duration wake = until;
    if (picker_) {
      Dispatch(picker_->Away(now));
      // When the oldest open due time is given up.
      wake = std::min(wake, picker_->schedule().next_due() +
                                picker_->schedule().options().interval);
    }
    {
      absl::MutexLock lock(&mu_);
      if (revoked_ || reconnect_ || granted_ || now >= until) return;
    }
    std::unique_lock<std::mutex> lock(wake_mu_);
    wake_.wait_for(
        lock,
        absl::ToChronoNanoseconds(std::min(
            std::max(wake - now, absl::Milliseconds(1)), kLongestSleep)),
        [this] { return woken_; });
    woken_ = false;
  }
}

void CameraStream::Wake() {
  {
    const std::lock_guard<std::mutex> lock(wake_mu_);
    woken_ = true;
  }
  wake_.notify_one();
}

void CameraStream::ApplyAssignment() {
  std::optional<v1::AssignStream> next;
  {
    absl::MutexLock lock(&mu_);
    if (!changed_) return;
    changed_ = false;
    next = std::exchange(next_assignment_, std::nullopt);
    paused_ = next_paused_;
    pause_reason_ = next_pause_reason_;
  }
  if (!next) return;
  const FramePicker::Options options = PickerOptions(*next, context_.options);
  if (!picker_) {
    absl::StatusOr<FramePicker> picker = FramePicker::Create(options);
    if (picker.ok()) {
      picker_.emplace(*std::move(picker));
      if (next->has_counted_until_seconds()) {
        picker_->ContinueAfter(absl::Seconds(next->counted_until_seconds()));
      }
      for (const FramePicker::Missed& missed :
           picker_->Away(context_.clock.SteadyNow()).missed) {
        EmitMissed(missed.count, kMissedWorkerLost);
      }
    } else {
      LogError("stream assigned with bad settings",
               {{"stream", stream_id_}, {"error", picker.status()}});
    }
  } else {
    const v1::SamplingMode before = picker_->effective_mode();
    const absl::Status updated = picker_->Update(options);
    if (!updated.ok()) {
      LogError("stream assigned with bad settings",
               {{"stream", stream_id_}, {"error", updated}});
    } else if (picker_->effective_mode() != before) {
      EndSequence();
    }
  }
  if (absl::StatusOr<CameraUrl> url = CameraUrl::Parse(next->url()); url.ok()) {
    url_ = *std::move(url);
  } else {
    url_.reset();
    LogError("stream assigned with a bad URL",
             {{"stream", stream_id_}, {"error", url.status()}});
  }
  const bool anew = next->session_id() != assignment_.session_id();
  const int64_t next_frame_seq = std::max<int64_t>(next->next_frame_seq(), 1);
  std::vector<v1::Polygon> masks(next->privacy_masks().begin(),
                                 next->privacy_masks().end());
  context_.pool.Add(strand_,
                    [this, next_frame_seq, anew, masks = std::move(masks),
                     version = next->masks_version()](DecodeThread&) {
                      writer_.SetNextFrameSeq(next_frame_seq, anew);
                      writer_.SetPrivacyMasks(masks, version);
                    });
  const bool unknown = next->camera_unknown();
  assignment_ = *std::move(next);
  absl::MutexLock lock(&emit_mu_);
  if (std::exchange(camera_unknown_, unknown) == unknown ||
      state_.state() != v1::STREAM_STATE_RUNNING) {
    return;
  }
  state_.set_reason(RunningReason());
  v1::FromWorker event;
  *event.mutable_state() = state_;
  EmitLocked(event);
}

std::string CameraStream::RunningReason() const {
  if (camera_unknown_) {
    return "no picture is taken until the aggregator has told the camera's "
           "privacy masks";
  }
  return disk_error_;
}

void CameraStream::OnDisk(const absl::Status& status) {
  if (!status.ok()) {
    LogError("pictures cannot be written",
             {{"stream", stream_id_}, {"error", status}});
  }
  ChangeState([&](v1::StateChanged& state) {
    emit_mu_.AssertHeld();
    disk_error_ = status.ok() ? ""
                              : absl::StrCat("pictures cannot be written: ",
                                             status.message());
    if (state.state() == v1::STREAM_STATE_RUNNING) {
      state.set_reason(RunningReason());
    }
  });
}

void CameraStream::ChangeState(
    absl::FunctionRef<void(v1::StateChanged&)> change) {
  v1::FromWorker event;
  absl::MutexLock lock(&emit_mu_);
  change(state_);
  *event.mutable_state() = state_;
  EmitLocked(event);
}

void CameraStream::EmitMissed(int64_t count, absl::string_view reason) {
  if (count == 0) return;
  v1::FromWorker event;
  event.mutable_missed()->set_count(count);
  event.mutable_missed()->set_reason(std::string(reason));
  Emit(event);
}

void CameraStream::Emit(v1::FromWorker& event) {
  absl::MutexLock lock(&emit_mu_);
  EmitLocked(event);
}

void CameraStream::EmitLocked(v1::FromWorker& event) {
  event.set_stream_id(stream_id_);
  context_.on_event(std::move(event));
}

}  // namespace camherd::capture
