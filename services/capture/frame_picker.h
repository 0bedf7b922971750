// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <deque>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "camherd/v1/stream.pb.h"
#include "services/capture/keyframe_kind.h"
#include "services/capture/packet_source.h"
#include "services/capture/sample_schedule.h"

namespace camherd::capture {

// Why a due sample gave no picture; keys of v1::Accounting.missed.
inline constexpr absl::string_view kMissedNotConnected = "not_connected";
inline constexpr absl::string_view kMissedLate = "late";
inline constexpr absl::string_view kMissedDecodeError = "decode_error";
inline constexpr absl::string_view kMissedCorrupt = "corrupt";
inline constexpr absl::string_view kMissedNoKeyframe = "no_keyframe";
inline constexpr absl::string_view kMissedDiskError = "disk_error";
inline constexpr absl::string_view kMissedOverload = "overload";
// Nobody knows yet what must not be shown.
inline constexpr absl::string_view kMissedCameraUnknown = "camera_unknown";
inline constexpr absl::string_view kMissedWorkerLost = "worker_lost";

// Decodes `units`, in order, and perhaps keeps a picture.
struct DecodeTask {
  // A keyframe by itself, or the next access units of the stream's sequence.
  bool single_keyframe = false;
  // The sequence begins anew with the first unit.
  bool restart = false;
  // The picture that comes out last is the sample that fell due at `due`.
  // Where the sequence has shown nothing yet, it is the first that comes out,
  // maybe only in a later task.
  bool sample = false;
  absl::Duration due;
  std::vector<AccessUnit> units;
  // Number of the first unit in its connection; the rest count on.
  int64_t first_tag = 0;
  // Which sequence it belongs to.
  int64_t sequence = 0;
};

// Says which access units of one stream are decoded, and for which due time.
//
// Modes (v1::SamplingMode):
//  keyframe  The first keyframe at or after a due time, each used once. All
//            else is forgotten on arrival.
//  exact     The picture shown at the due time: what a player that decodes
//            everything would have put out last, bit for bit. Access units wait
//            undecoded; when a later keyframe shows, what lies before it is
//            forgotten; each is decoded at most once. Since decoders put out
//            pictures late where they are reordered, the older GOP is kept
//            until the keyframe's own picture would be out.
//            Past `gop_max_bytes` the stream decodes as it receives until the
//            next keyframe.
//  full      Every access unit is decoded; for streams without keyframes.
//  auto      keyframe while the GOP is at most 1.25 intervals, else exact;
//  exact
//            until two keyframes have been seen. It goes back to exact from
//            1.375 intervals on, twice in a row, so that a GOP near the limit
//            does not make it swing.
//
// In each mode a picture is the sample of one due time only. A due time ends
// when its task is handed out, or as missed: its accounting is
// `due = tasks with sample + missed`.
//
// Not thread-safe: owned by the stream's receiving thread.
class FramePicker {
 public:
  struct Options {
    SampleSchedule::Options schedule;
    v1::SamplingMode mode = v1::SAMPLING_MODE_AUTO;
    // Access units that wait undecoded, bytes.
    int64_t gop_max_bytes = 32 << 20;
  };
  struct Missed {
    int64_t count = 0;
    absl::string_view reason;
  };
  // What to do now, in this order.
  struct Picked {
    std::vector<DecodeTask> tasks;
    std::vector<Missed> missed;
    // The sequence is over: its decoder is not needed after `tasks`.
    bool end_sequence = false;
    // The GOP has outgrown `gop_max_bytes`.
    bool gop_overflow = false;
  };

  // kInvalidArgument as SampleSchedule::Create.
  static absl::StatusOr<FramePicker> Create(const Options& options);

  // Takes new settings; due times follow the new grid from now on.
  absl::Status Update(const Options& options);

  // A connection begins; access units of `codec` follow.
  void Connected(Codec codec);
  // It has ended: due times up to `now` that a picture was shown for are
  // handed out.
  Picked Disconnected(absl::Duration now);
  // Time passes without a connection. Due times are missed one interval after
  // they fell due: until then a connection may still serve them.
  Picked Away(absl::Duration now);
  // Instead of with the due time before the first call of another method, it
  // begins with the one after `counted_until`, which lies within 1/4 interval
  // of a due time.
  void ContinueAfter(absl::Duration counted_until);

  // REQUIRES: connected; arrival times never go back.
  Picked OnAccessUnit(const AccessUnit& unit);

  // Takes back a task that found no room; its units wait again, its due time
  // remains ended. The caller counts the miss.
  void TakeBack(DecodeTask task);

  // What the stream's decoder knows: pictures held back for reordering, and
  // which sequence has put out its first picture.
  void set_delay(int pictures) { delay_ = pictures; }
  void set_shown(int64_t sequence) {
    if (shown_ || sequence != sequence_) return;
    shown_ = true;
    // The first picture went to the sample that waited for it.
    if (first_asked_) new_units_ = 0;
  }

  // keyframe, exact or full.
  v1::SamplingMode effective_mode() const { return effective_mode_; }
  // Seconds between the last two keyframes; zero: not seen yet.
  absl::Duration gop() const { return gop_; }
  const SampleSchedule& schedule() const { return schedule_; }

 private:
  struct Waiting {
    AccessUnit unit;
    int64_t tag = 0;
    KeyframeKind kind = KeyframeKind::kNone;
  };

  FramePicker(const Options& options, const SampleSchedule& schedule);

  absl::Duration interval() const { return schedule_.options().interval; }
  void Miss(Picked& picked, int64_t count, absl::string_view reason);
  // Misses due times up to `limit`, one by one.
  void MissUntil(absl::Duration limit, Picked& picked);
  void OnKeyframe(absl::Duration arrival, Picked& picked);
  void PickKeyframe(const AccessUnit& unit, KeyframeKind kind, Picked& picked);
  void PickInSequence(const AccessUnit& unit, KeyframeKind kind,
                      Picked& picked);
  // Hands out the sample of each due time before `now`.
  void ResolveDue(absl::Duration now, Picked& picked);
  // Forgets what lies before the newest keyframe whose picture is out by now.
  void DropBeforeKeyframe();
  void Decode(bool sample, absl::Duration due, Picked& picked);
  void EndSequence();

  Options options_;
  SampleSchedule schedule_;
  v1::SamplingMode effective_mode_;
  Codec codec_ = Codec::kH264;
  int delay_;

  absl::Duration gop_;
  absl::Duration previous_gop_;
  absl::Duration last_keyframe_ = -absl::InfiniteDuration();
  absl::Duration last_arrival_ = -absl::InfiniteDuration();
  int64_t next_tag_ = 0;

  // The sequence: units not yet decoded, in order.
  std::deque<Waiting> waiting_;
  int64_t waiting_bytes_ = 0;
  int64_t sequence_ = 0;
  bool in_sequence_ = false;
  bool restart_ = true;
  bool shown_ = false;
  // A sample waits for the first picture.
  bool first_asked_ = false;
  bool overflow_ = false;
  int64_t new_units_ = 0;
  int64_t units_without_keyframe_ = 0;
};

}  // namespace camherd::capture
