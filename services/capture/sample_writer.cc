// SPDX-License-Identifier: Apache-2.0
#include "services/capture/sample_writer.h"

#include <algorithm>
#include <ctime>
#include <utility>

#include "services/capture/spool_layout.h"
#include "services/common/file.h"
#include "services/common/log.h"
#include "services/common/status_macros.h"
#include "services/common/time_proto.h"

namespace camherd::capture {
namespace {

// More than any reorder depth.
constexpr size_t kRemembered = 40;

// CPU time of this thread, seconds.
double CpuSeconds() {
  timespec time = {};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) +
         static_cast<double>(time.tv_nsec) * 1e-9;
}

// Adds the CPU time of its life to a sum.
class CpuMeter {
 public:
  explicit CpuMeter(double& sum) : sum_(sum), start_(CpuSeconds()) {}
  ~CpuMeter() { sum_ += CpuSeconds() - start_; }

  CpuMeter(const CpuMeter&) = delete;
  CpuMeter& operator=(const CpuMeter&) = delete;

 private:
  double& sum_;
  const double start_;
};

}  // namespace

void SampleWriter::SetNextFrameSeq(int64_t seq, bool anew) {
  next_frame_seq_ = anew ? seq : std::max(next_frame_seq_, seq);
}

void SampleWriter::SetPrivacyMasks(std::vector<v1::Polygon> masks,
                                   int64_t version) {
  masks_ = std::move(masks);
  masks_version_ = version;
  mask_.reset();
}

const PrivacyMask* SampleWriter::MaskFor(const Picture& picture) {
  if (masks_.empty()) return nullptr;
  if (!mask_ || mask_->width() != picture.width ||
      mask_->height() != picture.height) {
    mask_.emplace(masks_, picture.width, picture.height);
  }
  return &*mask_;
}

void SampleWriter::Run(const DecodeTask& task, const Stream& stream,
                       DecodeThread& thread) {
  if (GivenUp()) {
    GiveUp(task);
  } else if (task.single_keyframe) {
    RunKeyframe(task, stream, thread);
  } else {
    RunSequence(task, stream, thread);
  }
}

void SampleWriter::EndSequence() {
  if (waiting_due_) {
    waiting_due_.reset();
    Missed(kMissedDecodeError);
  }
  sequence_.reset();
  newest_.reset();
  damaged_tag_.reset();
  received_.clear();
}

void SampleWriter::GiveUp(const DecodeTask& task) {
  if (std::exchange(waiting_due_, std::nullopt)) Missed(kMissedOverload);
  if (task.sample) Missed(kMissedOverload);
}

void SampleWriter::RunKeyframe(const DecodeTask& task, const Stream& stream,
                               DecodeThread& thread) {
  received_.clear();
  Remember(task);
  if (task.units.front().after_loss) {
    Missed(kMissedCorrupt);
    return;
  }
  absl::StatusOr<Picture> picture = absl::InternalError("not decoded");
  {
    const CpuMeter meter(decode_seconds_);
    const absl::StatusOr<Decoder*> decoder =
        thread.KeyframeDecoder(stream.parameters);
    picture = decoder.ok() ? (*decoder)->DecodeKeyframe(task.units.front())
                           : absl::StatusOr<Picture>(decoder.status());
  }
  if (!picture.ok()) {
    LogDebug("keyframe not decoded", {{"error", picture.status()}});
    Missed(kMissedDecodeError);
    return;
  }
  picture->tag = task.first_tag;
  if (picture->corrupt) {
    Missed(kMissedCorrupt);
    return;
  }
  Store(*picture, task.due, stream, thread);
}

void SampleWriter::RunSequence(const DecodeTask& task, const Stream& stream,
                               DecodeThread& thread) {
  absl::Status status;
  {
    const CpuMeter meter(decode_seconds_);
    status = DecodeUnits(task, stream);
  }
  // Maybe in the middle, with a picture that was not the one shown.
  if (GivenUp()) return GiveUp(task);
  if (!status.ok()) LogDebug("no decoder", {{"error", status}});
  if (sequence_ != nullptr) {
    delay_.store(sequence_->delay(), std::memory_order_relaxed);
  }
  if (newest_) {
    shown_sequence_.store(task.sequence, std::memory_order_relaxed);
  }
  std::optional<absl::Duration> due = std::exchange(waiting_due_, std::nullopt);
  if (task.sample) {
    // Two samples for one picture: the earlier one has lost.
    if (due) Missed(kMissedDecodeError);
    due = task.due;
  }
  if (!due) return;
  if (!newest_) {
    if (shown_sequence() == task.sequence) {
      Missed(damaged_tag_ ? kMissedCorrupt : kMissedDecodeError);
    } else {
      waiting_due_ = due;
    }
    return;
  }
  const Picture picture = *std::exchange(newest_, std::nullopt);
  if (picture.corrupt) {
    Missed(kMissedCorrupt);
    return;
  }
  Store(picture, *due, stream, thread);
}

absl::Status SampleWriter::DecodeUnits(const DecodeTask& task,
                                       const Stream& stream) {
  if (sequence_ == nullptr) {
    CAMHERD_ASSIGN_OR_RETURN(sequence_, Decoder::Create(stream.parameters));
  } else if (task.restart) {
    sequence_->Restart();
  }
  if (task.restart) {
    newest_.reset();
    damaged_tag_.reset();
    received_.clear();
  }
  Remember(task);
  int64_t tag = task.first_tag;
  for (const AccessUnit& unit : task.units) {
    if (GivenUp()) break;
    std::optional<Picture> picture;
    const absl::Status status = sequence_->Decode(unit, tag, &picture);
    if (!status.ok()) {
      LogDebug("access unit not decoded", {{"error", status}});
      damaged_tag_ = tag;
    }
    // No decoder sees that a whole picture is missing which this one refers to.
    if (unit.after_loss) damaged_tag_ = tag;
    ++tag;
    if (!picture) continue;
    if (picture->corrupt) {
      damaged_tag_ = std::max(damaged_tag_.value_or(0), picture->tag);
    } else if (damaged_tag_ && picture->keyframe &&
               picture->tag > *damaged_tag_) {
      damaged_tag_.reset();
    }
    picture->corrupt = damaged_tag_.has_value();
    newest_ = std::move(picture);
  }
  return absl::OkStatus();
}

void SampleWriter::Remember(const DecodeTask& task) {
  int64_t tag = task.first_tag;
  for (const AccessUnit& unit : task.units) {
    received_.push_back({tag++, unit.pts, unit.arrival, unit.wall});
  }
  while (received_.size() > kRemembered) received_.pop_front();
}

void SampleWriter::Store(const Picture& picture, absl::Duration due,
                         const Stream& stream, DecodeThread& thread) {
  const auto received =
      std::find_if(received_.begin(), received_.end(),
                   [&](const Received& r) { return r.tag == picture.tag; });
  if (received == received_.end()) {
    // Nothing that came after it could be decoded.
    Missed(kMissedCorrupt);
    return;
  }
  double encode_seconds = 0;
  absl::StatusOr<JpegEncoder::Jpeg> jpeg = absl::InternalError("not encoded");
  {
    const CpuMeter meter(encode_seconds);
    jpeg = thread.encoder().Encode(picture, MaskFor(picture));
  }
  if (!jpeg.ok()) {
    LogWarning("picture not encoded", {{"error", jpeg.status()}});
    Missed(kMissedDecodeError);
    return;
  }
  if (jpeg->data.size() > options_.max_frame_bytes) {
    LogWarning("picture too large", {{"bytes", jpeg->data.size()},
                                     {"max_bytes", options_.max_frame_bytes}});
    Missed(kMissedDecodeError);
    return;
  }
  const absl::Status written = WriteFileAtomically(
      FrameFile(stream.spool_dir, next_frame_seq_), jpeg->data,
      options_.sync_frames ? Sync::kData : Sync::kNone);
  if (written.ok() != disk_ok_) {
    disk_ok_ = written.ok();
    options_.on_disk(written);
  }
  if (!written.ok()) {
    Missed(kMissedDiskError);
    return;
  }
  v1::SampleTaken sample;
  v1::FrameInfo& frame = *sample.mutable_frame();
  frame.set_frame_seq(next_frame_seq_++);
  *frame.mutable_captured_at() = ToProto(received->wall);
  frame.set_pts(received->pts == INT64_MIN ? 0 : received->pts);
  frame.set_offset_seconds(absl::ToDoubleSeconds(received->arrival - due));
  frame.set_width(picture.width);
  frame.set_height(picture.height);
  frame.set_mean_luma(jpeg->mean_luma);
  frame.set_sha256(Sha256(jpeg->data));
  frame.set_size_bytes(static_cast<int64_t>(jpeg->data.size()));
  sample.set_effective_mode(stream.effective_mode);
  sample.set_gop_seconds(absl::ToDoubleSeconds(stream.gop));
  sample.set_received_bytes(stream.received_bytes);
  sample.set_decode_seconds(std::exchange(decode_seconds_, 0.0));
  sample.set_encode_seconds(encode_seconds);
  *sample.mutable_look() = jpeg->look;
  sample.set_masks_version(masks_version_);
  sample.set_ranked_only(stream.ranked_only);
  options_.on_taken(std::move(sample));
}

}  // namespace camherd::capture
