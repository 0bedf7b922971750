// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "camherd/v1/camera.pb.h"
#include "camherd/v1/worker.pb.h"
#include "services/capture/decode_pool.h"
#include "services/capture/decoder.h"
#include "services/capture/frame_picker.h"
#include "services/capture/privacy_mask.h"

namespace camherd::capture {

// The decoding half of one stream: turns the picker's tasks into pictures in
// the spool folder. Every task with a sample ends in exactly one call of
// `on_taken` or `on_missed`.
//
// A picture that is damaged, or refers to a damaged one, is never stored:
// after damage in a sequence all is missed (corrupt) until a sound keyframe.
// Nor is one of which it is no longer known when it was received (corrupt), or
// one that is too large for the services to come (decode_error).
//
// Not thread-safe: its calls are tasks of one strand, except the atomics.
class SampleWriter {
 public:
  struct Options {
    bool sync_frames = false;
    // Of a JPEG. The inference service takes no larger ones, and they would
    // take the rest of their batch with them.
    size_t max_frame_bytes = size_t{16} << 20;
    // From when it answers true nothing more is decoded: samples are missed
    // (overload). Asked for each access unit; null: never.
    std::function<bool()> given_up = nullptr;
    // What is left to fill in is seconds of decoding and encoding and the
    // frame itself.
    std::function<void(v1::SampleTaken)> on_taken;
    std::function<void(absl::string_view reason)> on_missed;
    // The outcome of a write, when it differs from the last one.
    std::function<void(const absl::Status&)> on_disk;
  };
  // What a task needs to know besides its units.
  struct Stream {
    VideoParameters parameters;
    std::string spool_dir;
    bool ranked_only = false;
    v1::SamplingMode effective_mode = v1::SAMPLING_MODE_UNSPECIFIED;
    absl::Duration gop;
    int64_t received_bytes = 0;
  };

  explicit SampleWriter(Options options) : options_(std::move(options)) {}

  // Numbers frames from `seq` on, or goes on where that would reuse a number.
  // With `anew` (another session) it is taken as it is.
  void SetNextFrameSeq(int64_t seq, bool anew);

  // What is black in all pictures from now on; `version` is told with each.
  void SetPrivacyMasks(std::vector<v1::Polygon> masks, int64_t version);

  void Run(const DecodeTask& task, const Stream& stream, DecodeThread& thread);

  // Frees the sequence's decoder; a sample that still waits for its first
  // picture is missed.
  void EndSequence();

  // For the picker, from any thread: the newest sequence that has put out a
  // picture, and pictures held back; -1: not known.
  int64_t shown_sequence() const {
    return shown_sequence_.load(std::memory_order_relaxed);
  }
  int delay() const { return delay_.load(std::memory_order_relaxed); }

 private:
  struct Received {
    int64_t tag = 0;
    int64_t pts = 0;
    absl::Duration arrival;
    absl::Time wall;
  };

  void RunKeyframe(const DecodeTask& task, const Stream& stream,
                   DecodeThread& thread);
  void RunSequence(const DecodeTask& task, const Stream& stream,
                   DecodeThread& thread);
  absl::Status DecodeUnits(const DecodeTask& task, const Stream& stream);
  void Remember(const DecodeTask& task);
  bool GivenUp() const { return options_.given_up && options_.given_up(); }
  // The samples of `task` and of those before it are missed.
  void GiveUp(const DecodeTask& task);
  // Encodes and writes the picture that fell due at `due`.
  void Store(const Picture& picture, absl::Duration due, const Stream& stream,
             DecodeThread& thread);
  // The masks on a picture of that size; null where there are none.
  const PrivacyMask* MaskFor(const Picture& picture);
  void Missed(absl::string_view reason) { options_.on_missed(reason); }

  const Options options_;
  int64_t next_frame_seq_ = 1;
  std::vector<v1::Polygon> masks_;
  int64_t masks_version_ = 0;
  // Of the last size.
  std::optional<PrivacyMask> mask_;
  double decode_seconds_ = 0;
  bool disk_ok_ = true;

  std::unique_ptr<Decoder> sequence_;
  // The newest picture put out, until it is used.
  std::optional<Picture> newest_;
  // A sample waits for the first picture since this due time.
  std::optional<absl::Duration> waiting_due_;
  // Tag of the newest damaged picture or access unit that no sound keyframe
  // has followed.
  std::optional<int64_t> damaged_tag_;
  // Access units whose pictures may still come out, oldest first.
  std::deque<Received> received_;

  std::atomic<int64_t> shown_sequence_ = -1;
  std::atomic<int> delay_ = -1;
};

}  // namespace camherd::capture
