// SPDX-License-Identifier: Apache-2.0
#include "services/capture/source_probe.h"

#include <algorithm>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "services/capture/decoder.h"
#include "services/capture/jpeg_encoder.h"
#include "services/capture/keyframe_kind.h"
#include "services/capture/probe_hints.h"
#include "services/capture/rtsp_greeting.h"
#include "services/common/time_proto.h"
#include "services/common/utf8.h"

namespace camherd::capture {
namespace {

// How often the caller is asked whether he still wants to know.
constexpr absl::Duration kWatchPoll = absl::Milliseconds(50);
// Of the JPEG that luma is measured in, as a stream's is; it goes nowhere.
constexpr int kJpegQuality = 85;

std::string Seconds(absl::Duration duration) {
  return absl::StrFormat("%.2f s", absl::ToDoubleSeconds(duration));
}

absl::string_view CodecName(Codec codec) {
  switch (codec) {
    case Codec::kH264:
      return "H.264";
    case Codec::kH265:
      return "H.265";
    case Codec::kMjpeg:
      return "MJPEG";
    case Codec::kMpeg4:
      return "MPEG-4";
  }
  return "";
}

std::string ConditionName(v1::CameraCondition condition) {
  const absl::string_view name = v1::CameraCondition_Name(condition);
  return absl::StrReplaceAll(
      absl::AsciiStrToLower(name.substr(sizeof("CAMERA_CONDITION_") - 1)),
      {{"_", " "}});
}

// Text of ours and of others as it may be shown and sent.
std::string Fit(absl::string_view text) {
  std::string fit = ToUtf8(MaskSecrets(text));
  for (char& c : fit) {
    if (absl::ascii_iscntrl(static_cast<unsigned char>(c))) c = ' ';
  }
  return fit;
}

// Cancels a source at a deadline, or when the caller has gone.
class SourceWatch {
 public:
  SourceWatch(PacketSource& source, const std::function<bool()>& cancelled,
              Clock& clock, absl::Duration deadline)
      : source_(source),
        cancelled_(cancelled),
        clock_(clock),
        deadline_(deadline),
        thread_([this] { Run(); }) {}
  ~SourceWatch() {
    {
      const std::lock_guard<std::mutex> lock(mu_);
      stop_ = true;
    }
    wake_.notify_one();
    thread_.join();
  }

  SourceWatch(const SourceWatch&) = delete;
  SourceWatch& operator=(const SourceWatch&) = delete;

  void set_deadline(absl::Duration deadline) {
    const std::lock_guard<std::mutex> lock(mu_);
    deadline_ = deadline;
  }
  // The deadline has passed, and the source is cancelled.
  bool expired() const {
    const std::lock_guard<std::mutex> lock(mu_);
    return expired_;
  }

 private:
  void Run() {
    std::unique_lock<std::mutex> lock(mu_);
    while (!wake_.wait_for(lock, absl::ToChronoNanoseconds(kWatchPoll),
                           [this] { return stop_; })) {
      expired_ = clock_.SteadyNow() >= deadline_;
      if (!expired_ && !cancelled_()) continue;
      source_.Cancel();
      return;
    }
  }

  PacketSource& source_;
  const std::function<bool()>& cancelled_;
  Clock& clock_;

  // Not an absl::Mutex: its timeouts go by the wall clock.
  mutable std::mutex mu_;
  std::condition_variable wake_;
  // Guarded by mu_.
  absl::Duration deadline_;
  bool expired_ = false;
  bool stop_ = false;

  // Last, since it uses all of the above.
  std::thread thread_;
};

// One probe. Its steps return false where it ends.
class ProbeRun {
 public:
  struct Context {
    const SourceProbe::Options& options;
    const AddressPolicy& policy;
    const CameraConnectionFactory& connections;
    const PacketSourceFactory& sources;
    Clock& clock;
    const SourceProber::StepSink& on_step;
    const std::function<bool()>& cancelled;
  };

  ProbeRun(const Context& context, const ProbeTarget& target)
      : context_(context), target_(target), url_(target.url) {}

  absl::Status Run() {
    began_ = Now();
    if (Resolve() && Connect() && Greet() && Login() && Watch()) {
      // Others may want the camera's session now.
      watch_.reset();
      source_.reset();
      if (Decode()) MeasureLuma();
    }
    if (gone_) return absl::CancelledError("the caller has gone");
    return absl::OkStatus();
  }

 private:
  absl::Duration Now() const { return context_.clock.SteadyNow(); }

  bool Resolve() {
    connect_by_ = Now() + context_.options.connect_timeout;
    const absl::StatusOr<IpAddress> address =
        ResolveHost(url_.host(), context_.policy, connect_by_, context_.clock,
                    context_.cancelled);
    if (!address.ok()) return Fail(v1::PROBE_STEP_DNS, address.status());
    port_ = {.address = *address,
             .port = url_.port(),
             .tls = url_.tls(),
             .host = url_.host(),
             .tls_verify = target_.tls_verify,
             .tls_ca_file = context_.options.tls_ca_file};
    const std::string text = address->ToString();
    return Tell(
        v1::PROBE_STEP_DNS,
        text == url_.host() ? text : absl::StrCat(url_.host(), " is ", text));
  }

  bool Connect() {
    connection_ = context_.connections(context_.cancelled);
    const absl::Status status = connection_->Open(port_, connect_by_);
    if (!status.ok()) return Fail(v1::PROBE_STEP_TCP, status);
    return Tell(v1::PROBE_STEP_TCP,
                absl::StrCat("port ", port_.port, " is open",
                             port_.tls ? " and speaks TLS" : ""));
  }

  bool Greet() {
    absl::StatusOr<RtspGreeting> greeting = GreetRtspServer(
        *connection_, url_, Now() + context_.options.connect_timeout);
    // Some cameras take only a few connections at a time.
    connection_.reset();
    if (!greeting.ok()) return Fail(v1::PROBE_STEP_RTSP, greeting.status());
    greeting_ = *std::move(greeting);
    std::vector<std::string> found;
    if (!greeting_.server.empty()) found.push_back(greeting_.server);
    if (!greeting_.methods.empty()) found.push_back(greeting_.methods);
    found.push_back(
        greeting_.describe_status == 0
            ? absl::StrCat("OPTIONS is answered by ", greeting_.options_status,
                           ", DESCRIBE not at all")
            : absl::StrCat("DESCRIBE without a login is answered by ",
                           greeting_.describe_status));
    if (!greeting_.schemes.empty()) {
      found.push_back(absl::StrCat("it asks for ",
                                   absl::StrJoin(greeting_.schemes, " or ")));
    }
    return Tell(v1::PROBE_STEP_RTSP, absl::StrJoin(found, "; "));
  }

  bool Login() {
    const SourceProbe::Options& options = context_.options;
    PacketSource::Options source;
    source.transport = target_.transport;
    source.tls_verify = target_.tls_verify;
    source.tls_ca_file = options.tls_ca_file;
    // This goes on up to the first picture.
    source.connect_timeout = options.connect_timeout + options.pictures_timeout;
    source.stall_timeout =
        std::min(options.stall_timeout, options.pictures_timeout);
    source_ = context_.sources(url_, source);
    watch_ = std::make_unique<SourceWatch>(*source_, context_.cancelled,
                                           context_.clock,
                                           Now() + options.connect_timeout);
    const absl::StatusOr<VideoParameters> opened = source_->Open();
    absl::Status status = opened.status();
    if (absl::IsCancelled(status) && watch_->expired()) {
      status = absl::DeadlineExceededError(
          absl::StrCat("the camera did not answer within ",
                       absl::FormatDuration(options.connect_timeout)));
    }
    // These two come after the camera has let us in.
    const bool let_in = status.ok() || absl::IsFailedPrecondition(status) ||
                        absl::IsUnimplemented(status);
    if (!let_in) return Fail(v1::PROBE_STEP_AUTH, status);
    Tell(v1::PROBE_STEP_AUTH,
         greeting_.schemes.empty()
             ? std::string("it asks for no login")
             : absl::StrCat("it lets us in by ",
                            absl::StrJoin(greeting_.schemes, " or ")),
         HintForLogin(greeting_, url_));
    if (!status.ok()) return Fail(v1::PROBE_STEP_CODEC, status);
    parameters_ = *opened;
    return Tell(v1::PROBE_STEP_CODEC,
                std::string(CodecName(parameters_.codec)));
  }

  // Reads pictures up to the second keyframe.
  bool Watch() {
    const absl::Duration start = Now();
    const absl::Duration limit = start + context_.options.pictures_timeout;
    watch_->set_deadline(limit);
    int units = 0;
    int units_of_gop = 0;
    absl::Duration first;
    while (true) {
      const absl::StatusOr<AccessUnit> unit = source_->Read();
      const absl::Duration now = Now();
      if (!unit.ok()) {
        if (absl::IsCancelled(unit.status()) && watch_->expired()) break;
        return Fail(
            keyframes_.empty() ? v1::PROBE_STEP_KEYFRAME : v1::PROBE_STEP_GOP,
            unit.status());
      }
      if (units++ == 0) first = now - start;
      const bool keyframe =
          ClassifyKeyframe(parameters_.codec, *unit->data, unit->keyframe) !=
          KeyframeKind::kNone;
      if (keyframe) keyframes_.push_back(*unit);
      if (keyframes_.size() == 2) {
        const absl::Duration gop = unit->arrival - keyframes_[0].arrival;
        return Tell(
            v1::PROBE_STEP_GOP,
            units_of_gop == 1
                ? absl::StrCat("every picture is a keyframe, ", Seconds(gop),
                               " apart")
                : absl::StrCat(Seconds(gop), " between keyframes, ",
                               units_of_gop, " pictures"),
            HintForGop(gop, /*longer=*/false, context_.options.interval));
      }
      if (keyframe) {
        Tell(v1::PROBE_STEP_KEYFRAME,
             absl::StrCat("first picture after ", Seconds(first),
                          ", first keyframe after ", Seconds(now - start), ", ",
                          unit->data->size(), " bytes"));
      }
      if (!keyframes_.empty()) ++units_of_gop;
      if (now >= limit) break;
    }
    if (!keyframes_.empty()) {
      const absl::Duration gop = Now() - began_;
      return Tell(v1::PROBE_STEP_GOP,
                  absl::StrCat("longer than ", Seconds(gop), ", ", units_of_gop,
                               " pictures and no second keyframe"),
                  HintForGop(gop, /*longer=*/true, context_.options.interval));
    }
    const std::string limit_text =
        absl::FormatDuration(context_.options.pictures_timeout);
    return Fail(v1::PROBE_STEP_KEYFRAME,
                units == 0 ? absl::DeadlineExceededError(absl::StrCat(
                                 "the camera sent no picture for ", limit_text))
                           : absl::NotFoundError(absl::StrCat(
                                 units, " pictures in ", limit_text,
                                 ", and none of them is a keyframe")));
  }

  bool Decode() {
    absl::StatusOr<std::unique_ptr<Decoder>> decoder =
        Decoder::Create(parameters_);
    if (!decoder.ok()) return Fail(v1::PROBE_STEP_DECODE, decoder.status());
    decoder_ = *std::move(decoder);
    absl::Status status;
    // The newer one first: a camera's first may be of what it had in store.
    for (auto unit = keyframes_.rbegin(); unit != keyframes_.rend(); ++unit) {
      absl::StatusOr<Picture> picture = decoder_->DecodeKeyframe(*unit);
      status = picture.status();
      if (status.ok() && picture->corrupt) {
        status = absl::DataLossError("the keyframe is damaged");
      }
      if (!status.ok()) continue;
      picture_ = *std::move(picture);
      return Tell(
          v1::PROBE_STEP_DECODE,
          absl::StrCat(picture_.width, " x ", picture_.height, " pixels"));
    }
    return Fail(v1::PROBE_STEP_DECODE, status);
  }

  bool MeasureLuma() {
    const absl::StatusOr<JpegEncoder::Jpeg> jpeg =
        JpegEncoder(kJpegQuality).Encode(picture_);
    if (!jpeg.ok()) return Fail(v1::PROBE_STEP_LUMA, jpeg.status());
    ConditionJudge::Options options = context_.options.condition;
    options.samples = 1;
    ConditionJudge judge(options);
    judge.Observe(jpeg->look);
    return Tell(v1::PROBE_STEP_LUMA,
                absl::StrFormat("mean %.0f of 255, contrast %.0f: %s",
                                jpeg->look.mean(), jpeg->look.contrast(),
                                ConditionName(judge.condition())),
                HintForCondition(judge.condition()));
  }

  bool Fail(v1::ProbeStep step, const absl::Status& status) {
    // All other reasons to cancel are told by another code.
    if (absl::IsCancelled(status)) {
      gone_ = true;
      return false;
    }
    Emit(step, false, status.message(),
         HintForFailure(step, status, url_, target_.transport));
    return false;
  }

  bool Tell(v1::ProbeStep step, const std::string& detail,
            const std::string& hint = "") {
    Emit(step, true, detail, hint);
    return true;
  }

  void Emit(v1::ProbeStep step, bool ok, absl::string_view detail,
            absl::string_view hint) {
    const absl::Duration now = Now();
    v1::ProbeSourceResponse response;
    response.set_step(step);
    response.set_ok(ok);
    response.set_elapsed_seconds(absl::ToDoubleSeconds(now - began_));
    response.set_detail(Fit(detail));
    response.set_hint(Fit(hint));
    *response.mutable_at() = ToProto(context_.clock.Now());
    began_ = now;
    context_.on_step(std::move(response));
  }

  const Context context_;
  const ProbeTarget& target_;
  const CameraUrl& url_;

  // When the step began.
  absl::Duration began_;
  absl::Duration connect_by_;
  CameraConnection::Target port_;
  std::unique_ptr<CameraConnection> connection_;
  RtspGreeting greeting_;
  std::unique_ptr<PacketSource> source_;
  VideoParameters parameters_;
  std::vector<AccessUnit> keyframes_;
  std::unique_ptr<Decoder> decoder_;
  Picture picture_;
  bool gone_ = false;
  // After the source, which it uses.
  std::unique_ptr<SourceWatch> watch_;
};

}  // namespace

SourceProbe::SourceProbe(const Options& options, const AddressPolicy& policy,
                         CameraConnectionFactory connections,
                         PacketSourceFactory sources, Clock& clock)
    : options_(options),
      policy_(policy),
      connections_(std::move(connections)),
      sources_(std::move(sources)),
      clock_(clock) {}

absl::Status SourceProbe::Probe(const ProbeTarget& target,
                                const StepSink& on_step,
                                const std::function<bool()>& cancelled) {
  return ProbeRun({options_, policy_, connections_, sources_, clock_, on_step,
                   cancelled},
                  target)
      .Run();
}

}  // namespace camherd::capture
