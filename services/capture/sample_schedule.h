// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace camherd::capture {

// Says when the next sample of one stream is due.
//
// The schedule keeps time by the arrival clock, never by the camera's PTS: a
// camera that jumps, stalls or lies about its time changes nothing. Due times
// lie on a fixed grid, `phase` + k * `interval`, so that a thousand streams do
// not all fall due in the same instant and a late sample shifts no later one.
//
// Each due time ends as taken or missed, in order of time. The first one is
// that of the interval in which the schedule was first asked, so that the
// first picture need not wait for a whole interval.
//
// Not thread-safe. Each stream owns one schedule and calls it only from its
// receiving thread.
class SampleSchedule {
 public:
  struct Options {
    // Time between samples. Range: [0.1 s, 24 h].
    absl::Duration interval = absl::Seconds(3);
    // Offset of the grid. Range: [0, interval).
    absl::Duration phase = absl::ZeroDuration();
  };

  // Returns kInvalidArgument, naming the value, if `options` is out of range.
  static absl::StatusOr<SampleSchedule> Create(const Options& options);

  // Returns true if an access unit that arrived at `now` is to be the sample
  // of its interval, at most once per interval; due times of earlier intervals
  // are missed. REQUIRES: `now` never goes back (steady clock).
  [[nodiscard]] bool TakeIfDue(absl::Duration now);

  // Begins at `now` unless it has begun.
  void Start(absl::Duration now);

  // The oldest due time neither taken nor missed; it may lie in the future.
  // REQUIRES: started.
  absl::Duration next_due() const { return DueTime(next_slot_); }

  // Ends the oldest open due time as taken. REQUIRES: started.
  void Take();

  // Ends each open due time up to and including `now` as missed, and returns
  // how many. REQUIRES: started.
  int64_t MissUntil(absl::Duration now);

  bool started() const { return started_; }
  const Options& options() const { return options_; }

  // due_samples() = taken_samples() + missed_samples(), always.
  int64_t due_samples() const { return taken_samples_ + missed_samples_; }
  int64_t taken_samples() const { return taken_samples_; }
  int64_t missed_samples() const { return missed_samples_; }

 private:
  explicit SampleSchedule(const Options& options) : options_(options) {}

  // The interval that holds `now`.
  int64_t SlotOf(absl::Duration now) const;
  absl::Duration DueTime(int64_t slot) const {
    return options_.phase + slot * options_.interval;
  }

  Options options_;
  bool started_ = false;
  // The oldest due time neither taken nor missed.
  int64_t next_slot_ = 0;
  int64_t taken_samples_ = 0;
  int64_t missed_samples_ = 0;
};

}  // namespace camherd::capture
