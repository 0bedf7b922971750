// SPDX-License-Identifier: Apache-2.0
#include "tests/support/clip.h"

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "services/common/status_macros.h"

extern "C" {
#include <libavcodec/bsf.h>
#include <libavformat/avformat.h>
}

namespace camherd::testing {
namespace {

struct Closer {
  void operator()(AVFormatContext* c) const { avformat_close_input(&c); }
  void operator()(AVBSFContext* c) const { av_bsf_free(&c); }
  void operator()(AVPacket* p) const { av_packet_free(&p); }
};

}  // namespace

absl::StatusOr<Clip> ReadClip(const std::string& path) {
  AVFormatContext* opened = nullptr;
  if (avformat_open_input(&opened, path.c_str(), nullptr, nullptr) < 0) {
    return absl::NotFoundError(absl::StrCat("cannot open ", path));
  }
  const std::unique_ptr<AVFormatContext, Closer> context(opened);
  if (avformat_find_stream_info(context.get(), nullptr) < 0) {
    return absl::DataLossError(absl::StrCat("cannot read ", path));
  }
  const int index = av_find_best_stream(context.get(), AVMEDIA_TYPE_VIDEO, -1,
                                        -1, nullptr, 0);
  if (index < 0) return absl::NotFoundError(absl::StrCat("no video in ", path));
  const AVStream* stream = context->streams[index];
  Clip clip;
  const char* filter = "null";
  switch (stream->codecpar->codec_id) {
    case AV_CODEC_ID_H264:
      clip.parameters.codec = capture::Codec::kH264;
      filter = "h264_mp4toannexb";
      break;
    case AV_CODEC_ID_HEVC:
      clip.parameters.codec = capture::Codec::kH265;
      filter = "hevc_mp4toannexb";
      break;
    case AV_CODEC_ID_MJPEG:
      clip.parameters.codec = capture::Codec::kMjpeg;
      break;
    default:
      return absl::UnimplementedError(absl::StrCat("codec of ", path));
  }
  clip.period = absl::Seconds(1) / av_q2d(stream->r_frame_rate);
  AVBSFContext* allocated = nullptr;
  if (av_bsf_alloc(av_bsf_get_by_name(filter), &allocated) < 0) {
    return absl::InternalError("no filter");
  }
  const std::unique_ptr<AVBSFContext, Closer> bsf(allocated);
  avcodec_parameters_copy(bsf->par_in, stream->codecpar);
  bsf->time_base_in = stream->time_base;
  if (av_bsf_init(bsf.get()) < 0) return absl::InternalError("no filter");
  clip.parameters.extradata.assign(
      reinterpret_cast<const char*>(bsf->par_out->extradata),
      static_cast<size_t>(bsf->par_out->extradata_size));
  const std::unique_ptr<AVPacket, Closer> packet(av_packet_alloc());
  while (av_read_frame(context.get(), packet.get()) >= 0) {
    if (packet->stream_index != index) {
      av_packet_unref(packet.get());
      continue;
    }
    if (av_bsf_send_packet(bsf.get(), packet.get()) < 0) break;
    while (av_bsf_receive_packet(bsf.get(), packet.get()) >= 0) {
      capture::AccessUnit unit;
      unit.data = std::make_shared<const std::string>(
          reinterpret_cast<const char*>(packet->data),
          static_cast<size_t>(packet->size));
      unit.keyframe = (packet->flags & AV_PKT_FLAG_KEY) != 0;
      unit.pts = av_rescale_q(packet->pts, stream->time_base, {1, 90000});
      unit.arrival = clip.period * static_cast<int64_t>(clip.units.size());
      unit.wall = absl::FromUnixSeconds(1785578100) + unit.arrival;
      clip.units.push_back(std::move(unit));
      av_packet_unref(packet.get());
    }
  }
  if (clip.units.empty()) {
    return absl::DataLossError(absl::StrCat("nothing in ", path));
  }
  return clip;
}

bool HaveFfmpeg() {
  static const bool have = std::system("ffmpeg -version >/dev/null 2>&1") == 0;
  return have;
}

absl::StatusOr<Clip> MakeClip(const std::string& arguments,
                              const std::string& path) {
  const std::string command =
      absl::StrCat("ffmpeg -nostdin -v error -y ", arguments, " '", path, "'");
  if (std::system(command.c_str()) != 0) {
    return absl::InternalError(absl::StrCat("failed: ", command));
  }
  return ReadClip(path);
}

std::string SharedVideo(const std::string& name) {
  const std::string path =
      absl::StrCat(CAMHERD_SHARED_DATA_DIR, "/videos/", name);
  std::error_code ignored;
  return std::filesystem::exists(path, ignored) ? path : "";
}

}  // namespace camherd::testing
