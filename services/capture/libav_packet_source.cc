// SPDX-License-Identifier: Apache-2.0
#include "services/capture/libav_packet_source.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <functional>
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "services/capture/libav_listener.h"
#include "services/capture/socket_guard.h"
#include "services/capture/socket_read_ahead.h"
#include "services/capture/tls_verifier.h"
#include "services/common/status_macros.h"

extern "C" {
#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libavutil/dict.h>
#include <libavutil/mathematics.h>
}

namespace camherd::capture {
namespace {

constexpr int kMaxRedirects = 5;
// How long closing may take to send TEARDOWN.
constexpr absl::Duration kCloseTimeout = absl::Milliseconds(500);
// The socket's own time limit is the second net below ours.
constexpr absl::Duration kSocketSlack = absl::Seconds(1);
// For the connection itself, before anything is asked: two repetitions of a
// lost SYN. A camera that is switched off and on again is found between two
// tries, not at the end of a long one.
constexpr absl::Duration kReachTimeout = absl::Seconds(5);
// Over UDP: room for a keyframe's burst (the kernel may give less), and how
// long and for how many packets is waited for one that is late.
constexpr int kUdpBufferBytes = 2 << 20;
constexpr int kReorderPackets = 500;
// Over TCP nothing comes out of order; a gap in the numbers is seen only with a
// queue, of which this is the shortest.
constexpr int kNoticeGaps = 2;
// So many packets with old numbers over TCP, and the camera counts anew.
constexpr int kCountsAnew = 10;
constexpr absl::Duration kReorderDelay = absl::Milliseconds(300);

// A camera's answers up to PLAY, and what came before that was answered.
constexpr int64_t kMaxAnswerBytes = 4 << 20;
// What may come for one access unit: the largest picture that is decoded, as
// MJPEG, has less.
constexpr int64_t kMaxUnitBytes = 48 << 20;

// What the library says only in its log.
struct Overheard {
  std::string sdp;
  int rtsp_status = 0;
  int redirects = 0;
  // The camera has taken the TCP connection.
  bool reached = false;
  // It has said something.
  bool answered = false;
  // RTP packets are missing.
  bool loss = false;
  int old_packets = 0;
};

void Hear(Overheard& heard, absl::string_view format,
          const std::function<std::string()>& text) {
  if (absl::StartsWith(format, "Status %d: Redirect")) {
    ++heard.redirects;
  } else if (absl::StartsWith(format, "Successfully connected")) {
    heard.reached = true;
  } else if (absl::StartsWith(format, "line=")) {
    heard.answered = true;
  } else if (absl::StartsWith(format, "RTP: missed")) {
    heard.loss = true;
  } else if (absl::StartsWith(format, "RTP: dropping old")) {
    ++heard.old_packets;
  } else if (absl::StartsWith(format, "SDP:")) {
    heard.sdp = text();
  } else if (absl::StartsWith(format, "method %s failed")) {
    const std::pair<std::string, std::string> parts =
        absl::StrSplit(text(), absl::MaxSplits("failed: ", 1));
    int status = 0;
    if (absl::SimpleAtoi(parts.second.substr(0, 3), &status)) {
      heard.rtsp_status = status;
    }
  }
}

std::string AvError(int code) {
  char text[AV_ERROR_MAX_STRING_SIZE] = {0};
  av_strerror(code, text, sizeof(text));
  return text;
}

// The URL with its host replaced by an address.
std::string WithAddress(const CameraUrl& url, const IpAddress& address) {
  const absl::string_view full = url.Full();
  const size_t authority = full.find("://") + 3;
  const size_t end =
      std::min(full.find_first_of("/?#", authority), full.size());
  const absl::string_view before = full.substr(authority, end - authority);
  const size_t at = before.rfind('@');
  const absl::string_view user =
      at == absl::string_view::npos ? "" : before.substr(0, at + 1);
  const std::string ip = address.is_v4()
                             ? address.ToString()
                             : absl::StrCat("[", address.ToString(), "]");
  return absl::StrCat(full.substr(0, authority), user, ip, ":", url.port(),
                      full.substr(end));
}

// The local address a connection to `address` would have.
std::string LocalAddressTowards(const IpAddress& address, uint16_t port) {
  sockaddr_storage peer = {};
  socklen_t size = 0;
  if (address.is_v4()) {
    auto* v4 = reinterpret_cast<sockaddr_in*>(&peer);
    v4->sin_family = AF_INET;
    v4->sin_port = htons(port);
    std::memcpy(&v4->sin_addr, address.bytes().data(), 4);
    size = sizeof(*v4);
  } else {
    auto* v6 = reinterpret_cast<sockaddr_in6*>(&peer);
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(port);
    std::memcpy(&v6->sin6_addr, address.bytes().data(), 16);
    size = sizeof(*v6);
  }
  // Connecting a datagram socket sends nothing; it only picks the route.
  const int fd = socket(peer.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return "";
  std::string local;
  sockaddr_storage name = {};
  socklen_t name_size = sizeof(name);
  if (connect(fd, reinterpret_cast<const sockaddr*>(&peer), size) == 0 &&
      getsockname(fd, reinterpret_cast<sockaddr*>(&name), &name_size) == 0) {
    local = IpAddress::FromSockaddr(reinterpret_cast<const sockaddr*>(&name))
                .ToString();
  }
  close(fd);
  return local;
}

std::optional<Codec> SupportedCodec(AVCodecID id) {
  switch (id) {
    case AV_CODEC_ID_H264:
      return Codec::kH264;
    case AV_CODEC_ID_HEVC:
      return Codec::kH265;
    case AV_CODEC_ID_MJPEG:
      return Codec::kMjpeg;
    case AV_CODEC_ID_MPEG4:
      return Codec::kMpeg4;
    default:
      return std::nullopt;
  }
}

// `a=rtpmap:96 AV1/90000` of the SDP's video section (RFC 8866 §6.6) -> AV1.
std::string EncodingNameOf(absl::string_view sdp) {
  bool video = false;
  for (absl::string_view line : absl::StrSplit(sdp, '\n')) {
    if (absl::StartsWith(line, "m=")) video = absl::StartsWith(line, "m=video");
    if (!video || !absl::StartsWith(line, "a=rtpmap:")) continue;
    const size_t space = line.find(' ');
    if (space == absl::string_view::npos) continue;
    std::string name;
    for (const char c : line.substr(space + 1)) {
      if (!absl::ascii_isalnum(static_cast<unsigned char>(c)) && c != '-' &&
          c != '.') {
        break;
      }
      name += c;
      if (name.size() == 32) break;
    }
    if (!name.empty()) return name;
  }
  return "unknown";
}

struct DictionaryDeleter {
  void operator()(AVDictionary* d) const { av_dict_free(&d); }
};

}  // namespace

class LibavPacketSource::Impl {
 public:
  Impl(const CameraUrl& url, const Options& options,
       const AddressPolicy& policy, Clock& clock)
      : url_(url),
        options_(options),
        policy_(policy),
        clock_(clock),
        socket_guard_(policy) {}

  ~Impl() {
    closing_ = true;
    deadline_ = clock_.SteadyNow() + kCloseTimeout;
    if (context_ != nullptr) avformat_close_input(&context_);
    av_packet_free(&packet_);
  }

  absl::StatusOr<VideoParameters> Open() {
    started_ = clock_.SteadyNow();
    Arm(options_.connect_timeout);
    if (url_.tls() && options_.tls_verify) {
      if (!absl::StrContains(avformat_configuration(), "--enable-gnutls")) {
        return absl::PermissionDeniedError(
            "the media library of this installation cannot be made to verify "
            "certificates (tls_verify)");
      }
      tls_verifier_.emplace(url_.host(), options_.tls_ca_file);
    }
    CAMHERD_ASSIGN_OR_RETURN(
        const IpAddress address,
        ResolveHost(url_.host(), policy_, deadline_, clock_,
                    [this] { return cancelled_.load(); }));
    local_ip_ = LocalAddressTowards(address, url_.port());
    connect_url_ = WithAddress(url_, address);
    reach_deadline_ = clock_.SteadyNow() + kReachTimeout;
    const SocketGuard::Scope guarded(socket_guard_);
    socket_limit_ = kMaxAnswerBytes;
    connecting_ = true;
    const LibavListener listener = Listen();
    absl::StatusOr<VideoParameters> parameters = Connect(heard_);
    connecting_ = false;
    return parameters;
  }

  absl::StatusOr<AccessUnit> Read() {
    if (cancelled_) return absl::CancelledError("cancelled");
    if (context_ == nullptr) return absl::UnavailableError("not connected");
    if (first_read_) {
      // The camera has until the connect deadline to send its first picture.
      expired_ = false;
      deadline_ = std::max(started_ + options_.connect_timeout,
                           clock_.SteadyNow() + absl::Seconds(1));
    } else {
      Arm(options_.stall_timeout);
    }
    // Over UDP the connection carries next to nothing.
    const SocketGuard::Scope guarded(
        socket_guard_,
        options_.transport == v1::TRANSPORT_UDP ? nullptr : &read_ahead_);
    const LibavListener listener = Listen();
    while (true) {
      socket_limit_ = socket_guard_.received_bytes() + kMaxUnitBytes;
      const int error = av_read_frame(context_, packet_);
      if (cancelled_) return absl::CancelledError("cancelled");
      CAMHERD_RETURN_IF_ERROR(socket_guard_.refusal());
      if (TooMuch()) {
        if (error >= 0) av_packet_unref(packet_);
        return absl::UnavailableError(absl::StrCat("the camera sent more than ",
                                                   kMaxUnitBytes >> 20,
                                                   " MiB for one picture"));
      }
      const absl::Duration now = clock_.SteadyNow();
      if (CountsAnew()) {
        if (error >= 0) av_packet_unref(packet_);
        return absl::UnavailableError("the camera numbers its packets anew");
      }
      // Whatever the call answered: see FFmpeg's hidden first expiry, where a
      // timed out read gives the parser's last packet.
      if (expired_ || now >= deadline_) {
        if (error >= 0) av_packet_unref(packet_);
        return absl::DeadlineExceededError(absl::StrCat(
            "the camera sent no picture for ",
            absl::FormatDuration(first_read_ ? options_.connect_timeout
                                             : options_.stall_timeout),
            first_read_ && options_.transport == v1::TRANSPORT_UDP
                ? " over UDP, which a firewall may keep away"
                : ""));
      }
      if (error == AVERROR_EOF) {
        return absl::UnavailableError("the camera ended the stream");
      }
      if (error < 0) {
        return absl::UnavailableError(
            absl::StrCat("the connection was lost: ", AvError(error)));
      }
      received_bytes_ += packet_->size;
      if (packet_->stream_index != video_index_ || packet_->size == 0) {
        av_packet_unref(packet_);
        continue;
      }
      AccessUnit unit;
      unit.data = std::make_shared<const std::string>(
          reinterpret_cast<const char*>(packet_->data),
          static_cast<size_t>(packet_->size));
      unit.keyframe = (packet_->flags & AV_PKT_FLAG_KEY) != 0;
      if (packet_->pts != AV_NOPTS_VALUE) {
        unit.pts = av_rescale_q(packet_->pts,
                                context_->streams[video_index_]->time_base,
                                AVRational{1, 90000});
      }
      // This unit ended as the next began; the gap is in or before either.
      const bool loss = std::exchange(heard_.loss, false);
      heard_.old_packets = 0;
      unit.after_loss = std::exchange(loss_before_, loss) || loss;
      unit.arrival = now;
      unit.wall = clock_.Now();
      av_packet_unref(packet_);
      first_read_ = false;
      return unit;
    }
  }

  void Cancel() { cancelled_ = true; }
  const std::string& local_ip() const { return local_ip_; }
  int64_t received_bytes() const { return received_bytes_; }

 private:
  LibavListener Listen() {
    return LibavListener([this](absl::string_view format,
                                const std::function<std::string()>& text) {
      Hear(heard_, format, text);
    });
  }

  // Every call into the library ends `timeout` from now.
  void Arm(absl::Duration timeout) {
    expired_ = false;
    deadline_ = clock_.SteadyNow() + timeout;
  }

  static int OnInterrupt(void* self) {
    return static_cast<Impl*>(self)->Interrupted() ? 1 : 0;
  }

  bool TooMuch() const {
    return socket_guard_.received_bytes() > socket_limit_;
  }

  // Asked by the library wherever it waits, at least every 0.1 s.
  bool Interrupted() {
    if (!closing_ && cancelled_) return true;
    if (clock_.SteadyNow() >= deadline_) {
      expired_ = true;
      return true;
    }
    if (connecting_ && !heard_.reached &&
        clock_.SteadyNow() >= reach_deadline_) {
      unreached_ = true;
      return true;
    }
    if (connecting_ && heard_.reached && !heard_.answered) {
      // One that is silent before its first word will stay so: it hangs, or
      // has not yet come up.
      if (!answer_deadline_) {
        answer_deadline_ = clock_.SteadyNow() + options_.stall_timeout;
      }
      if (clock_.SteadyNow() >= *answer_deadline_) {
        unanswered_ = true;
        return true;
      }
    }
    // Closing sends and waits all the same.
    return !closing_ &&
           (!socket_guard_.refusal().ok() || TooMuch() || CountsAnew() ||
            !redirect_error_.ok() || !RedirectsAllowed());
  }

  // The queue takes packets with smaller numbers for late ones, and would drop
  // them for minutes.
  bool CountsAnew() const {
    return options_.transport != v1::TRANSPORT_UDP &&
           heard_.old_packets >= kCountsAnew;
  }

  // A redirect shows in the log and, where it leads elsewhere, as a changed URL
  // in the context.
  bool RedirectsAllowed() {
    if (heard_.redirects > kMaxRedirects) {
      redirect_error_ = absl::UnavailableError(absl::StrCat(
          "the camera redirected more than ", kMaxRedirects, " times"));
      return false;
    }
    if (context_ == nullptr || context_->url == nullptr ||
        current_url_ == context_->url) {
      return true;
    }
    current_url_ = context_->url;
    const absl::StatusOr<CameraUrl> target = CameraUrl::Parse(current_url_);
    if (!target.ok()) {
      redirect_error_ = absl::UnavailableError(
          "the camera redirected to something that is no RTSP address");
      return false;
    }
    if (url_.tls() && !target->tls()) {
      redirect_error_ = absl::UnavailableError(
          "the camera redirected from rtsps to a connection in the clear");
      return false;
    }
    // To which address it leads is for socket_guard_ to judge.
    return true;
  }

  absl::StatusOr<VideoParameters> Connect(Overheard& heard) {
    int error = OpenInput(/*video_only=*/true);
    if (error == 0 && !leftover_.empty()) {
      return absl::InternalError(absl::StrCat(
          "the media library does not know the option ", leftover_));
    }
    if (error < 0) {
      CAMHERD_RETURN_IF_ERROR(OwnReason(error));
      CAMHERD_RETURN_IF_ERROR(CameraReason(error, heard));
      // What is left may be a camera without video: the library fails in
      // several ways on it.
      if (heard.sdp.empty()) {
        error = OpenInput(/*video_only=*/false);
        if (error < 0) {
          CAMHERD_RETURN_IF_ERROR(OwnReason(error));
          CAMHERD_RETURN_IF_ERROR(CameraReason(error, heard));
          return Unclear(error, heard);
        }
      } else if (absl::StrContains(heard.sdp, "m=video")) {
        return Unclear(error, heard);
      }
    }
    if (tls_verifier_ && !tls_verifier_->verified()) {
      return absl::PermissionDeniedError(
          "the camera's certificate was not verified (tls_verify)");
    }
    return ChooseVideo(heard);
  }

  absl::StatusOr<VideoParameters> ChooseVideo(const Overheard& heard) {
    std::string other;
    for (unsigned i = 0; context_ != nullptr && i < context_->nb_streams; ++i) {
      AVStream* stream = context_->streams[i];
      const AVCodecParameters& codec = *stream->codecpar;
      const std::optional<Codec> supported = SupportedCodec(codec.codec_id);
      if (codec.codec_type == AVMEDIA_TYPE_VIDEO && supported &&
          video_index_ < 0) {
        video_index_ = static_cast<int>(i);
        parameters_.codec = *supported;
        parameters_.extradata.assign(
            reinterpret_cast<const char*>(codec.extradata),
            static_cast<size_t>(std::max(codec.extradata_size, 0)));
        continue;
      }
      stream->discard = AVDISCARD_ALL;
      if (codec.codec_type == AVMEDIA_TYPE_VIDEO && other.empty()) {
        other = codec.codec_id == AV_CODEC_ID_NONE
                    ? EncodingNameOf(heard.sdp)
                    : avcodec_get_name(codec.codec_id);
      }
    }
    if (video_index_ >= 0) {
      packet_ = av_packet_alloc();
      if (packet_ == nullptr) {
        return absl::ResourceExhaustedError("no memory for a packet");
      }
      return parameters_;
    }
    if (!other.empty()) {
      return absl::UnimplementedError(
          absl::StrCat("the camera sends the codec ", other,
                       ", which is not one of H.264, H.265, MJPEG and MPEG-4"));
    }
    return absl::FailedPreconditionError("the camera offers no video track");
  }

  // Returns the library's code, 0 for success; what it did not understand of
  // the options is in leftover_.
  int OpenInput(bool video_only) {
    context_ = avformat_alloc_context();
    if (context_ == nullptr) return AVERROR(ENOMEM);
    context_->interrupt_callback = {OnInterrupt, this};
    current_url_ = connect_url_;
    AVDictionary* options = nullptr;
    av_dict_set(&options, "rtsp_transport",
                options_.transport == v1::TRANSPORT_UDP ? "udp" : "tcp", 0);
    const absl::Duration socket_timeout =
        std::max(options_.connect_timeout, options_.stall_timeout) +
        kSocketSlack;
    av_dict_set_int(&options, "timeout",
                    absl::ToInt64Microseconds(socket_timeout), 0);
    av_dict_set(&options, "protocol_whitelist", "tcp,udp,rtp,tls", 0);
    av_dict_set(&options, "format_whitelist", "rtsp", 0);
    av_dict_set(&options, "codec_whitelist", "h264,hevc,mjpeg,mpeg4", 0);
    av_dict_set(&options, "user_agent", "Camherd", 0);
    if (video_only) av_dict_set(&options, "allowed_media_types", "video", 0);
    const bool udp = options_.transport == v1::TRANSPORT_UDP;
    av_dict_set_int(&options, "reorder_queue_size",
                    udp ? kReorderPackets : kNoticeGaps, 0);
    if (udp) {
      av_dict_set_int(&options, "buffer_size", kUdpBufferBytes, 0);
      av_dict_set_int(&options, "max_delay",
                      absl::ToInt64Microseconds(kReorderDelay), 0);
      // Packets from elsewhere are not the camera's.
      av_dict_set(&options, "rtsp_flags", "filter_src", 0);
    }
    const TlsVerifier::Scope verify(tls_verifier_ ? &*tls_verifier_ : nullptr);
    // The streams' parameters are those of the SDP: looking at the video for
    // them (avformat_find_stream_info) would take seconds.
    const int error =
        avformat_open_input(&context_, connect_url_.c_str(),
                            av_find_input_format("rtsp"), &options);
    const std::unique_ptr<AVDictionary, DictionaryDeleter> rest(options);
    leftover_.clear();
    if (error < 0) {
      context_ = nullptr;
      return error;
    }
    if (const AVDictionaryEntry* entry =
            av_dict_get(options, "", nullptr, AV_DICT_IGNORE_SUFFIX)) {
      leftover_ = entry->key;
    }
    return 0;
  }

  // What we ended ourselves, whatever the library calls it.
  absl::Status OwnReason(int error) const {
    if (cancelled_) return absl::CancelledError("cancelled");
    CAMHERD_RETURN_IF_ERROR(redirect_error_);
    CAMHERD_RETURN_IF_ERROR(socket_guard_.refusal());
    if (TooMuch()) {
      return absl::UnavailableError(
          absl::StrCat("the camera answered with more than ",
                       kMaxAnswerBytes >> 20, " MiB"));
    }
    if (tls_verifier_) CAMHERD_RETURN_IF_ERROR(tls_verifier_->refusal());
    if (unreached_) {
      return absl::DeadlineExceededError(
          absl::StrCat("nothing answered at the camera's address within ",
                       absl::FormatDuration(kReachTimeout)));
    }
    if (unanswered_) {
      return absl::DeadlineExceededError(absl::StrCat(
          "the camera took the connection, but did not answer within ",
          absl::FormatDuration(options_.stall_timeout)));
    }
    if (expired_ || clock_.SteadyNow() >= deadline_ ||
        error == AVERROR(ETIMEDOUT)) {
      return absl::DeadlineExceededError(
          absl::StrCat("the camera did not answer within ",
                       absl::FormatDuration(options_.connect_timeout)));
    }
    return absl::OkStatus();
  }

  // What the camera or the network said plainly.
  absl::Status CameraReason(int error, const Overheard& heard) const {
    switch (error) {
      case AVERROR_HTTP_UNAUTHORIZED:
        return absl::UnauthenticatedError(
            url_.has_credentials()
                ? "the camera refused the user name or password (401)"
                : "the camera wants a user name and password (401)");
      case AVERROR_HTTP_FORBIDDEN:
        return absl::UnauthenticatedError(
            "the camera forbids access to this stream (403)");
      case AVERROR_HTTP_NOT_FOUND:
        return absl::NotFoundError("the camera does not know this path (404)");
      case AVERROR_HTTP_OTHER_4XX:
      case AVERROR_HTTP_SERVER_ERROR:
      case AVERROR_HTTP_BAD_REQUEST:
        break;
      case AVERROR(ECONNREFUSED):
        return absl::UnavailableError(
            absl::StrCat("the connection was refused: nothing listens on port ",
                         url_.port(), " of the camera"));
      case AVERROR(ENETUNREACH):
      case AVERROR(EHOSTUNREACH):
        return absl::UnavailableError("the camera's network is unreachable");
      case AVERROR_EOF:
      case AVERROR(ECONNRESET):
      case AVERROR(EPIPE):
        return absl::UnavailableError("the camera closed the connection");
      default:
        return absl::OkStatus();
    }
    switch (heard.rtsp_status) {
      case 453:
      case 455:
      case 503:
        return absl::ResourceExhaustedError(absl::StrCat(
            "the camera refuses another session (", heard.rtsp_status, ")"));
      case 454:
        // Also the answer where nothing was set up: audio only.
        return absl::OkStatus();
      case 0:
        return absl::UnavailableError("the camera refused the request");
      default:
        return absl::UnavailableError(absl::StrCat(
            "the camera refused the request (", heard.rtsp_status, ")"));
    }
  }

  absl::Status Unclear(int error, const Overheard& heard) const {
    if (heard.reached && !heard.answered) {
      return absl::UnavailableError(
          "the camera closed the connection without an answer");
    }
    if (error == AVERROR_INVALIDDATA) {
      return absl::UnavailableError("the answer is not RTSP that can be used");
    }
    return absl::UnavailableError(
        absl::StrCat("cannot connect: ", AvError(error)));
  }

  const CameraUrl url_;
  const Options options_;
  const AddressPolicy policy_;
  Clock& clock_;
  std::atomic<bool> cancelled_ = false;

  // The rest is owned by the thread that uses the source.
  SocketGuard socket_guard_;
  // Of bytes received, what the library's call in progress may bring it to.
  int64_t socket_limit_ = 0;
  std::string connect_url_;
  std::string current_url_;
  std::string leftover_;
  absl::Status redirect_error_;
  absl::Duration started_;
  absl::Duration deadline_ = absl::InfiniteDuration();
  // A deadline has passed during the call.
  bool expired_ = false;
  // No TCP connection came about by then.
  absl::Duration reach_deadline_;
  bool unreached_ = false;
  // Since it was connected there was no answer by then.
  std::optional<absl::Duration> answer_deadline_;
  bool unanswered_ = false;
  std::optional<TlsVerifier> tls_verifier_;
  bool closing_ = false;
  bool first_read_ = true;
  SocketReadAhead read_ahead_;
  bool connecting_ = false;
  Overheard heard_;
  // While the last unit was received, packets were missing.
  bool loss_before_ = false;
  AVFormatContext* context_ = nullptr;
  AVPacket* packet_ = nullptr;
  int video_index_ = -1;
  VideoParameters parameters_;
  std::string local_ip_;
  int64_t received_bytes_ = 0;
};

LibavPacketSource::LibavPacketSource(const CameraUrl& url,
                                     const Options& options,
                                     const AddressPolicy& policy, Clock& clock)
    : impl_(std::make_unique<Impl>(url, options, policy, clock)) {}
LibavPacketSource::~LibavPacketSource() = default;

absl::StatusOr<VideoParameters> LibavPacketSource::Open() {
  return impl_->Open();
}
absl::StatusOr<AccessUnit> LibavPacketSource::Read() { return impl_->Read(); }
void LibavPacketSource::Cancel() { impl_->Cancel(); }
std::string LibavPacketSource::local_ip() const { return impl_->local_ip(); }
int64_t LibavPacketSource::received_bytes() const {
  return impl_->received_bytes();
}

PacketSourceFactory MakeLibavPacketSources(const AddressPolicy& policy,
                                           Clock& clock) {
  return [policy, &clock](const CameraUrl& url,
                          const PacketSource::Options& options)
             -> std::unique_ptr<PacketSource> {
    return std::make_unique<LibavPacketSource>(url, options, policy, clock);
  };
}

}  // namespace camherd::capture
