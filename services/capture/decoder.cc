// SPDX-License-Identifier: Apache-2.0
#include "services/capture/decoder.h"

#include <cerrno>
#include <cstring>
#include <functional>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "services/capture/keyframe_kind.h"
#include "services/capture/libav_listener.h"
#include "services/common/status_macros.h"

extern "C" {
#include <libavcodec/avcodec.h>
#include <libavutil/opt.h>
#include <libavutil/pixdesc.h>
#include <libswscale/swscale.h>
}

namespace camherd::capture {
namespace {

// 7680 x 4320.
constexpr int64_t kMaxPixels = 33177600;
constexpr char kCodecWhitelist[] = "h264,hevc,mjpeg,mpeg4";
// From so many lines on a picture that does not say so is taken as BT.709.
constexpr int kHighDefinitionLines = 720;

struct FrameDeleter {
  void operator()(AVFrame* frame) const { av_frame_free(&frame); }
};
struct PacketDeleter {
  void operator()(AVPacket* packet) const { av_packet_free(&packet); }
};
struct ContextDeleter {
  void operator()(AVCodecContext* context) const {
    avcodec_free_context(&context);
  }
};
struct SwsDeleter {
  void operator()(SwsContext* context) const { sws_freeContext(context); }
};
using FramePtr = std::unique_ptr<AVFrame, FrameDeleter>;

AVCodecID CodecId(Codec codec) {
  switch (codec) {
    case Codec::kH264:
      return AV_CODEC_ID_H264;
    case Codec::kH265:
      return AV_CODEC_ID_HEVC;
    case Codec::kMjpeg:
      return AV_CODEC_ID_MJPEG;
    case Codec::kMpeg4:
      return AV_CODEC_ID_MPEG4;
  }
  return AV_CODEC_ID_NONE;
}

std::string AvError(int code) {
  char text[AV_ERROR_MAX_STRING_SIZE] = {0};
  av_strerror(code, text, sizeof(text));
  return text;
}

// RASL_N and RASL_R (H.265 table 7-1), or no slice at all.
bool IsSkippedLeading(int slice_type) {
  return slice_type < 0 || slice_type == 8 || slice_type == 9;
}

// The layouts the encoder takes as they are.
std::optional<Picture::Chroma> PlainChroma(AVPixelFormat format) {
  switch (format) {
    case AV_PIX_FMT_YUV420P:
    case AV_PIX_FMT_YUVJ420P:
      return Picture::Chroma::k420;
    case AV_PIX_FMT_YUV422P:
    case AV_PIX_FMT_YUVJ422P:
      return Picture::Chroma::k422;
    case AV_PIX_FMT_YUV444P:
    case AV_PIX_FMT_YUVJ444P:
      return Picture::Chroma::k444;
    case AV_PIX_FMT_GRAY8:
      return Picture::Chroma::kGray;
    default:
      return std::nullopt;
  }
}

bool IsFullRange(const AVFrame& frame) {
  switch (frame.format) {
    case AV_PIX_FMT_YUVJ420P:
    case AV_PIX_FMT_YUVJ422P:
    case AV_PIX_FMT_YUVJ444P:
    case AV_PIX_FMT_YUVJ440P:
    case AV_PIX_FMT_YUVJ411P:
      return true;
    default:
      return frame.color_range == AVCOL_RANGE_JPEG;
  }
}

void SetMatrix(const AVFrame& frame, Codec codec, Picture& picture) {
  AVColorSpace space = frame.colorspace;
  if (space == AVCOL_SPC_UNSPECIFIED || space == AVCOL_SPC_RESERVED) {
    // JFIF is BT.601 whatever its size.
    space = codec != Codec::kMjpeg && frame.height >= kHighDefinitionLines
                ? AVCOL_SPC_BT709
                : AVCOL_SPC_SMPTE170M;
  }
  switch (space) {
    case AVCOL_SPC_BT709:
      picture.kr = 0.2126;
      picture.kb = 0.0722;
      break;
    case AVCOL_SPC_FCC:
      picture.kr = 0.30;
      picture.kb = 0.11;
      break;
    case AVCOL_SPC_SMPTE240M:
      picture.kr = 0.212;
      picture.kb = 0.087;
      break;
    case AVCOL_SPC_BT2020_NCL:
    case AVCOL_SPC_BT2020_CL:
      picture.kr = 0.2627;
      picture.kb = 0.0593;
      break;
    default:
      picture.kr = 0.299;
      picture.kb = 0.114;
      break;
  }
}

}  // namespace

class Decoder::Impl {
 public:
  absl::Status Open(const VideoParameters& parameters) {
    parameters_ = parameters;
    const AVCodec* codec = avcodec_find_decoder(CodecId(parameters.codec));
    if (codec == nullptr) {
      return absl::InternalError("the media library lacks this decoder");
    }
    context_.reset(avcodec_alloc_context3(codec));
    packet_.reset(av_packet_alloc());
    frame_.reset(av_frame_alloc());
    if (!context_ || !packet_ || !frame_) {
      return absl::ResourceExhaustedError("no memory for a decoder");
    }
    context_->thread_count = 1;
    context_->max_pixels = kMaxPixels;
    context_->codec_whitelist = av_strdup(kCodecWhitelist);
    if (!parameters.extradata.empty()) {
      const size_t size = parameters.extradata.size();
      context_->extradata = static_cast<uint8_t*>(
          av_mallocz(size + AV_INPUT_BUFFER_PADDING_SIZE));
      if (context_->extradata == nullptr) {
        return absl::ResourceExhaustedError("no memory for a decoder");
      }
      std::memcpy(context_->extradata, parameters.extradata.data(), size);
      context_->extradata_size = static_cast<int>(size);
    }
    int error = avcodec_open2(context_.get(), codec, nullptr);
    if (error < 0 && context_->extradata_size > 0) {
      // Cameras announce broken headers in the SDP and send good ones later.
      VideoParameters bare;
      bare.codec = parameters.codec;
      return Open(bare);
    }
    if (error < 0) {
      return absl::InternalError(
          absl::StrCat("cannot open the decoder: ", AvError(error)));
    }
    return absl::OkStatus();
  }

  absl::StatusOr<Picture> DecodeKeyframe(const AccessUnit& unit) {
    std::optional<Picture> picture;
    absl::Status status;
    if (!parameters_.extradata.empty() &&
        !HasParameterSets(parameters_.codec, *unit.data)) {
      // The decoder may have seen another camera's headers since.
      const std::string whole = absl::StrCat(parameters_.extradata, *unit.data);
      status = Send(whole, 0, &picture);
    } else {
      status = Send(*unit.data, 0, &picture);
    }
    avcodec_send_packet(context_.get(), nullptr);
    const absl::Status received = Receive(&picture);
    avcodec_flush_buffers(context_.get());
    CAMHERD_RETURN_IF_ERROR(status);
    CAMHERD_RETURN_IF_ERROR(received);
    if (!picture) return absl::DataLossError("the keyframe gives no picture");
    picture->corrupt = picture->corrupt || incomplete_;
    return *std::move(picture);
  }

  void Restart() { avcodec_flush_buffers(context_.get()); }

  absl::Status Send(absl::string_view data, int64_t tag,
                    std::optional<Picture>* newest) {
    // The library copies what it is not given by reference, with its padding.
    packet_->data = reinterpret_cast<uint8_t*>(const_cast<char*>(data.data()));
    packet_->size = static_cast<int>(data.size());
    packet_->pts = tag;
    packet_->dts = AV_NOPTS_VALUE;
    bool complete = false;
    bool missing_reference = false;
    const LibavListener listener(
        [&](absl::string_view format, const std::function<std::string()>&) {
          complete = complete || absl::StartsWith(format, "Decoded frame");
          missing_reference = missing_reference ||
                              absl::StartsWith(format, "Could not find ref");
        });
    const int error = avcodec_send_packet(context_.get(), packet_.get());
    packet_->data = nullptr;
    packet_->size = 0;
    const absl::Status received = Receive(newest);
    // The decoder of H.265 flags nothing, but tells when it has come to the end
    // of a picture. Leading pictures after a keyframe that came first are
    // rightly passed over.
    incomplete_ =
        missing_reference || (parameters_.codec == Codec::kH265 && !complete &&
                              !IsSkippedLeading(FirstH265SliceType(data)));
    if (error < 0) {
      return absl::DataLossError(
          absl::StrCat("cannot decode: ", AvError(error)));
    }
    return received;
  }

  int delay() const { return context_->has_b_frames; }
  bool incomplete() const { return incomplete_; }

 private:
  absl::Status Receive(std::optional<Picture>* newest) {
    while (true) {
      const int error = avcodec_receive_frame(context_.get(), frame_.get());
      if (error == AVERROR(EAGAIN) || error == AVERROR_EOF) {
        return absl::OkStatus();
      }
      if (error < 0) {
        return absl::DataLossError(
            absl::StrCat("cannot decode: ", AvError(error)));
      }
      FramePtr frame(av_frame_alloc());
      if (!frame) return absl::ResourceExhaustedError("no memory for a frame");
      av_frame_move_ref(frame.get(), frame_.get());
      // Converted late, by the one who keeps it: see Plain.
      *newest = Describe(std::move(frame));
      if (!*newest) return absl::DataLossError("no memory for a picture");
    }
  }

  std::optional<Picture> Describe(FramePtr frame) {
    Picture picture;
    picture.tag = frame->pts;
    picture.keyframe = frame->key_frame != 0;
    picture.corrupt = frame->decode_error_flags != 0 ||
                      (frame->flags & AV_FRAME_FLAG_CORRUPT) != 0;
    picture.full_range = IsFullRange(*frame);
    SetMatrix(*frame, parameters_.codec, picture);
    std::optional<Picture::Chroma> chroma =
        PlainChroma(static_cast<AVPixelFormat>(frame->format));
    if (!chroma) {
      frame = Plain(*frame, picture);
      if (!frame) return std::nullopt;
      chroma = PlainChroma(static_cast<AVPixelFormat>(frame->format));
    }
    picture.width = frame->width;
    picture.height = frame->height;
    picture.chroma = *chroma;
    for (int i = 0; i < 3; ++i) {
      picture.planes[i] = frame->data[i];
      picture.strides[i] = frame->linesize[i];
    }
    picture.owner = std::shared_ptr<const AVFrame>(
        frame.release(), [](AVFrame* f) { av_frame_free(&f); });
    return picture;
  }

  // Other layouts (10 bits, 4:1:1, GBR ...) go through swscale, which keeps
  // range and matrix except for GBR, which becomes full-range BT.601.
  FramePtr Plain(const AVFrame& frame, Picture& picture) {
    const auto format = static_cast<AVPixelFormat>(frame.format);
    const AVPixFmtDescriptor* descriptor = av_pix_fmt_desc_get(format);
    if (descriptor == nullptr) return nullptr;
    const bool rgb = (descriptor->flags & AV_PIX_FMT_FLAG_RGB) != 0;
    AVPixelFormat target = AV_PIX_FMT_YUV444P;
    if (!rgb && descriptor->nb_components < 3) {
      target = AV_PIX_FMT_GRAY8;
    } else if (!rgb && descriptor->log2_chroma_h > 0) {
      target = AV_PIX_FMT_YUV420P;
    } else if (!rgb && descriptor->log2_chroma_w > 0) {
      target = AV_PIX_FMT_YUV422P;
    }
    FramePtr plain(av_frame_alloc());
    if (!plain) return nullptr;
    plain->width = frame.width;
    plain->height = frame.height;
    plain->format = target;
    if (av_frame_get_buffer(plain.get(), 0) < 0) return nullptr;
    // The size may change with any frame, so nothing of it is kept.
    scaler_.reset(sws_getCachedContext(
        scaler_.release(), frame.width, frame.height, format, frame.width,
        frame.height, target, SWS_BICUBIC | SWS_ACCURATE_RND, nullptr, nullptr,
        nullptr));
    if (!scaler_) return nullptr;
    if (rgb) {
      picture.full_range = true;
      picture.kr = 0.299;
      picture.kb = 0.114;
    }
    const int* table = sws_getCoefficients(SWS_CS_ITU601);
    const int source_range = rgb || picture.full_range ? 1 : 0;
    sws_setColorspaceDetails(scaler_.get(), table, source_range, table,
                             picture.full_range ? 1 : 0, 0, 1 << 16, 1 << 16);
    sws_scale(scaler_.get(), frame.data, frame.linesize, 0, frame.height,
              plain->data, plain->linesize);
    return plain;
  }

  VideoParameters parameters_;
  // The last access unit was not decoded to its end.
  bool incomplete_ = false;
  std::unique_ptr<AVCodecContext, ContextDeleter> context_;
  std::unique_ptr<AVPacket, PacketDeleter> packet_;
  FramePtr frame_;
  std::unique_ptr<SwsContext, SwsDeleter> scaler_;
};

Decoder::Decoder(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Decoder::~Decoder() = default;

absl::StatusOr<std::unique_ptr<Decoder>> Decoder::Create(
    const VideoParameters& parameters) {
  auto impl = std::make_unique<Impl>();
  CAMHERD_RETURN_IF_ERROR(impl->Open(parameters));
  return std::unique_ptr<Decoder>(new Decoder(std::move(impl)));
}

absl::StatusOr<Picture> Decoder::DecodeKeyframe(const AccessUnit& unit) {
  return impl_->DecodeKeyframe(unit);
}

void Decoder::Restart() { impl_->Restart(); }

absl::Status Decoder::Decode(const AccessUnit& unit, int64_t tag,
                             std::optional<Picture>* newest) {
  CAMHERD_RETURN_IF_ERROR(impl_->Send(*unit.data, tag, newest));
  if (impl_->incomplete()) {
    return absl::DataLossError("the picture ends early or lacks a reference");
  }
  return absl::OkStatus();
}

int Decoder::delay() const { return impl_->delay(); }

}  // namespace camherd::capture
