// SPDX-License-Identifier: Apache-2.0
#include "services/capture/frame_picker.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "services/common/status_macros.h"

namespace camherd::capture {
namespace {

constexpr double kEnterKeyframe = 1.25;
constexpr double kLeaveKeyframe = 1.375;
// A keyframe may serve the due time before the newest one where they come
// about as often as due times do; else jitter around a due time would cost
// every other sample.
constexpr double kSparseGop = 0.75;
// The largest reorder depth there is (H.264 §A.3.1, H.265 §A.4.2), for streams
// nothing is known of yet.
constexpr int kMaxDelay = 16;
// Leading pictures assumed after an open GOP's keyframe without usable PTS.
constexpr int kAssumedLeading = 8;
// Without any keyframe for so long the sequence begins anywhere.
constexpr int64_t kPatience = 300;
// Handed out at once where a stream decodes as it receives.
constexpr int64_t kChunkBytes = 512 << 10;
constexpr size_t kChunkUnits = 25;

v1::SamplingMode InitialMode(v1::SamplingMode mode) {
  switch (mode) {
    case v1::SAMPLING_MODE_KEYFRAME:
    case v1::SAMPLING_MODE_EXACT:
    case v1::SAMPLING_MODE_FULL:
      return mode;
    default:
      return v1::SAMPLING_MODE_EXACT;
  }
}

bool IsAuto(v1::SamplingMode mode) {
  return mode == v1::SAMPLING_MODE_AUTO ||
         mode == v1::SAMPLING_MODE_UNSPECIFIED;
}

}  // namespace

absl::StatusOr<FramePicker> FramePicker::Create(const Options& options) {
  CAMHERD_ASSIGN_OR_RETURN(const SampleSchedule schedule,
                           SampleSchedule::Create(options.schedule));
  return FramePicker(options, schedule);
}

FramePicker::FramePicker(const Options& options, const SampleSchedule& schedule)
    : options_(options),
      schedule_(schedule),
      effective_mode_(InitialMode(options.mode)),
      delay_(kMaxDelay) {}

absl::Status FramePicker::Update(const Options& options) {
  CAMHERD_ASSIGN_OR_RETURN(const SampleSchedule schedule,
                           SampleSchedule::Create(options.schedule));
  if (options.schedule.interval != options_.schedule.interval ||
      options.schedule.phase != options_.schedule.phase) {
    schedule_ = schedule;
  }
  // In mode auto the next keyframe decides anew.
  if (options.mode != options_.mode) {
    const v1::SamplingMode mode = InitialMode(options.mode);
    if (mode != effective_mode_) EndSequence();
    effective_mode_ = mode;
  }
  options_ = options;
  return absl::OkStatus();
}

void FramePicker::Connected(Codec codec) {
  codec_ = codec;
  last_keyframe_ = -absl::InfiniteDuration();
  last_arrival_ = -absl::InfiniteDuration();
  units_without_keyframe_ = 0;
  next_tag_ = 0;
  EndSequence();
}

FramePicker::Picked FramePicker::Disconnected(absl::Duration now) {
  Picked picked;
  if (schedule_.started() && effective_mode_ != v1::SAMPLING_MODE_KEYFRAME) {
    ResolveDue(now, picked);
  }
  EndSequence();
  picked.end_sequence = true;
  return picked;
}

FramePicker::Picked FramePicker::Away(absl::Duration now) {
  Picked picked;
  schedule_.Start(now);
  Miss(picked, schedule_.MissUntil(now - interval()), kMissedNotConnected);
  return picked;
}

void FramePicker::ContinueAfter(absl::Duration counted_until) {
  schedule_.Start(counted_until + 1.5 * interval());
}

FramePicker::Picked FramePicker::OnAccessUnit(const AccessUnit& unit) {
  Picked picked;
  schedule_.Start(unit.arrival);
  const KeyframeKind kind = ClassifyKeyframe(codec_, *unit.data, unit.keyframe);
  if (effective_mode_ != v1::SAMPLING_MODE_KEYFRAME) {
    ResolveDue(unit.arrival, picked);
  }
  if (kind != KeyframeKind::kNone) OnKeyframe(unit.arrival, picked);
  if (effective_mode_ == v1::SAMPLING_MODE_KEYFRAME) {
    PickKeyframe(unit, kind, picked);
  } else {
    PickInSequence(unit, kind, picked);
  }
  last_arrival_ = unit.arrival;
  ++next_tag_;
  return picked;
}

void FramePicker::TakeBack(DecodeTask task) {
  if (task.single_keyframe || task.sequence != sequence_) return;
  if (task.sample && first_asked_ && !shown_) first_asked_ = false;
  restart_ = restart_ || task.restart;
  int64_t tag = task.first_tag + static_cast<int64_t>(task.units.size());
  for (auto unit = task.units.rbegin(); unit != task.units.rend(); ++unit) {
    waiting_bytes_ += static_cast<int64_t>(unit->data->size());
    const KeyframeKind kind =
        ClassifyKeyframe(codec_, *unit->data, unit->keyframe);
    waiting_.push_front({std::move(*unit), --tag, kind});
    ++new_units_;
  }
  // A stream that finds no room for long begins anew at its next keyframe.
  if (waiting_bytes_ > 2 * options_.gop_max_bytes) EndSequence();
}

void FramePicker::Miss(Picked& picked, int64_t count,
                       absl::string_view reason) {
  if (count == 0) return;
  if (!picked.missed.empty() && picked.missed.back().reason == reason) {
    picked.missed.back().count += count;
  } else {
    picked.missed.push_back({count, reason});
  }
}

void FramePicker::MissUntil(absl::Duration limit, Picked& picked) {
  while (schedule_.next_due() <= limit) {
    const absl::Duration due = schedule_.next_due();
    Miss(picked, schedule_.MissUntil(due),
         last_arrival_ > due || last_arrival_ == -absl::InfiniteDuration()
             ? kMissedNoKeyframe
             : kMissedLate);
  }
}

void FramePicker::OnKeyframe(absl::Duration arrival, Picked& picked) {
  units_without_keyframe_ = 0;
  overflow_ = false;
  if (last_keyframe_ != -absl::InfiniteDuration()) {
    previous_gop_ = gop_;
    gop_ = arrival - last_keyframe_;
  }
  last_keyframe_ = arrival;
  if (!IsAuto(options_.mode) || gop_ == absl::ZeroDuration()) return;
  if (effective_mode_ == v1::SAMPLING_MODE_EXACT) {
    if (std::max(gop_, previous_gop_) <= kEnterKeyframe * interval()) {
      effective_mode_ = v1::SAMPLING_MODE_KEYFRAME;
      EndSequence();
      picked.end_sequence = true;
    }
  } else if (std::min(gop_, previous_gop_) > kLeaveKeyframe * interval()) {
    effective_mode_ = v1::SAMPLING_MODE_EXACT;
    EndSequence();
  }
}

void FramePicker::PickKeyframe(const AccessUnit& unit, KeyframeKind kind,
                               Picked& picked) {
  // Of the last two, since a stall lengthens one.
  const absl::Duration gop = previous_gop_ > absl::ZeroDuration()
                                 ? std::min(gop_, previous_gop_)
                                 : gop_;
  const bool sparse = gop >= kSparseGop * interval();
  MissUntil(unit.arrival - (sparse ? 2 : 1) * interval(), picked);
  if (kind == KeyframeKind::kNone || schedule_.next_due() > unit.arrival) {
    return;
  }
  DecodeTask task;
  task.single_keyframe = true;
  task.sample = true;
  task.due = schedule_.next_due();
  task.units.push_back(unit);
  task.first_tag = next_tag_;
  schedule_.Take();
  picked.tasks.push_back(std::move(task));
}

void FramePicker::PickInSequence(const AccessUnit& unit, KeyframeKind kind,
                                 Picked& picked) {
  const bool full = effective_mode_ == v1::SAMPLING_MODE_FULL;
  if (!in_sequence_) {
    ++units_without_keyframe_;
    in_sequence_ = full || kind != KeyframeKind::kNone || unit.keyframe ||
                   units_without_keyframe_ > kPatience;
    if (!in_sequence_) return;
  }
  waiting_.push_back({unit, next_tag_, kind});
  waiting_bytes_ += static_cast<int64_t>(unit.data->size());
  ++new_units_;
  if (!full) DropBeforeKeyframe();

  if (!shown_ && first_asked_) {
    Decode(false, absl::ZeroDuration(), picked);
  } else if (!shown_ && schedule_.next_due() <= unit.arrival) {
    // Fell due before there was anything to show: the first picture will do.
    const absl::Duration due = schedule_.next_due();
    schedule_.Take();
    first_asked_ = true;
    Decode(true, due, picked);
  } else if (!full && !overflow_ && waiting_bytes_ > options_.gop_max_bytes) {
    overflow_ = true;
    picked.gop_overflow = true;
    Decode(false, absl::ZeroDuration(), picked);
  } else if ((full || overflow_) &&
             (waiting_bytes_ > std::min(kChunkBytes, options_.gop_max_bytes) ||
              waiting_.size() >= kChunkUnits)) {
    Decode(false, absl::ZeroDuration(), picked);
  }
}

void FramePicker::ResolveDue(absl::Duration now, Picked& picked) {
  if (!shown_ && !first_asked_) {
    MissUntil(now - interval(), picked);
    if (waiting_.empty() || schedule_.next_due() >= now ||
        schedule_.next_due() < waiting_.front().unit.arrival) {
      return;
    }
    first_asked_ = true;
  } else if (!shown_) {
    // The first picture is spoken for, and there is no other yet.
    new_units_ = 0;
  }
  if (schedule_.next_due() < now && new_units_ > 0) {
    const absl::Duration due = schedule_.next_due();
    schedule_.Take();
    Decode(true, due, picked);
    new_units_ = 0;
  }
  while (schedule_.next_due() < now) {
    Miss(picked, schedule_.MissUntil(schedule_.next_due()), kMissedLate);
  }
}

void FramePicker::DropBeforeKeyframe() {
  const int64_t delay = delay_;
  // From the newest backwards; `after` counts units from it to the end.
  for (size_t i = waiting_.size(); i-- > 0;) {
    const Waiting& keyframe = waiting_[i];
    if (keyframe.kind == KeyframeKind::kNone) continue;
    int64_t leading = 0;
    if (keyframe.kind == KeyframeKind::kOpen) {
      if (keyframe.unit.pts == INT64_MIN) {
        leading = kAssumedLeading;
      } else {
        for (size_t k = i + 1; k < waiting_.size(); ++k) {
          const int64_t pts = waiting_[k].unit.pts;
          if (pts != INT64_MIN && pts < keyframe.unit.pts) ++leading;
        }
      }
    }
    const auto after = static_cast<int64_t>(waiting_.size() - i);
    if (after <= delay + leading) continue;
    if (i == 0) return;
    for (size_t k = 0; k < i; ++k) {
      waiting_bytes_ -= static_cast<int64_t>(waiting_[k].unit.data->size());
    }
    waiting_.erase(waiting_.begin(),
                   waiting_.begin() + static_cast<std::ptrdiff_t>(i));
    restart_ = true;
    return;
  }
}

void FramePicker::Decode(bool sample, absl::Duration due, Picked& picked) {
  DecodeTask task;
  task.sample = sample;
  task.due = due;
  task.restart = std::exchange(restart_, false);
  task.sequence = sequence_;
  if (!waiting_.empty()) task.first_tag = waiting_.front().tag;
  task.units.reserve(waiting_.size());
  for (Waiting& waiting : waiting_) {
    task.units.push_back(std::move(waiting.unit));
  }
  waiting_.clear();
  waiting_bytes_ = 0;
  picked.tasks.push_back(std::move(task));
}

void FramePicker::EndSequence() {
  waiting_.clear();
  waiting_bytes_ = 0;
  ++sequence_;
  in_sequence_ = false;
  restart_ = true;
  shown_ = false;
  first_asked_ = false;
  overflow_ = false;
  new_units_ = 0;
}

}  // namespace camherd::capture
