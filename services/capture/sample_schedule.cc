// SPDX-License-Identifier: Apache-2.0
#include "services/capture/sample_schedule.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace camherd::capture {
namespace {

constexpr absl::Duration kMinInterval = absl::Milliseconds(100);
constexpr absl::Duration kMaxInterval = absl::Hours(24);

}  // namespace

absl::StatusOr<SampleSchedule> SampleSchedule::Create(const Options& options) {
  if (options.interval < kMinInterval || options.interval > kMaxInterval) {
    return absl::InvalidArgumentError(
        absl::StrCat("interval_seconds must be in [0.1, 86400], got ",
                     absl::ToDoubleSeconds(options.interval)));
  }
  if (options.phase < absl::ZeroDuration() ||
      options.phase >= options.interval) {
    return absl::InvalidArgumentError(
        absl::StrCat("phase_seconds must be in [0, ",
                     absl::ToDoubleSeconds(options.interval), "), got ",
                     absl::ToDoubleSeconds(options.phase)));
  }
  return SampleSchedule(options);
}

bool SampleSchedule::TakeIfDue(absl::Duration now) {
  Start(now);
  const int64_t slot = SlotOf(now);
  if (slot < next_slot_) return false;
  missed_samples_ += slot - next_slot_;
  next_slot_ = slot + 1;
  ++taken_samples_;
  return true;
}

void SampleSchedule::Start(absl::Duration now) {
  if (started_) return;
  started_ = true;
  next_slot_ = SlotOf(now);
}

void SampleSchedule::Take() {
  ++taken_samples_;
  ++next_slot_;
}

int64_t SampleSchedule::MissUntil(absl::Duration now) {
  const int64_t slot = SlotOf(now);
  if (slot < next_slot_) return 0;
  const int64_t missed = slot + 1 - next_slot_;
  missed_samples_ += missed;
  next_slot_ = slot + 1;
  return missed;
}

int64_t SampleSchedule::SlotOf(absl::Duration now) const {
  absl::Duration rest;
  const int64_t slot =
      absl::IDivDuration(now - options_.phase, options_.interval, &rest);
  // IDivDuration truncates towards zero.
  return rest < absl::ZeroDuration() ? slot - 1 : slot;
}

}  // namespace camherd::capture
