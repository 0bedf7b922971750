// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "camherd/v1/stream.pb.h"

namespace camherd::capture {

// A stream as admission sees it.
struct StreamLoad {
  std::string stream_id;
  // It is beside a stream's first one, and for max_streams none of its own.
  bool second_source = false;
  double interval_seconds = 3;
  // Asked for, or in use where that is known.
  v1::SamplingMode mode = v1::SAMPLING_MODE_AUTO;
  // 0: not seen yet.
  double gop_seconds = 0;
  // Access units arrive.
  bool receiving = false;
};

// Says whether the box carries one more stream, by what those that run have
// cost. Only what capture itself uses counts, its service and its workers:
// other work on the machine refuses nobody.
//
// What a stream needs has two parts. Sampling is told with each sample (decode
// and encode time), and scaled to another interval by the mode: of `full` the
// decoding costs the same at each interval, of `exact` as much of a GOP as
// lies before the sample, of `keyframe` one picture. All the rest, receiving
// above all, is measured of the processes, less the sampling, and each stream
// has an equal share. A stream that has no sample yet counts as one to come:
// as the heaviest that runs in its mode, or else the heaviest of all.
//
// What is measured fades away within a minute or so. Moments in which more than
// a fifth of the streams have just connected are left out: a connect costs more
// than a stream does. Until streams have run for some seconds a start is
// admitted, as is the only one.
//
// It is also refused while those that run miss samples for want of time.
//
// Pure: it is told usage and time. Thread-safe.
class StreamAdmission {
 public:
  struct Options {
    // False: only max_streams holds.
    bool enabled = false;
    // Streams that run at once.
    int max_streams = 1000;
    // Cores that capture may use, and how much of them.
    double cores = 1;
    double max_cpu_share = 0.8;
    // Of all workers; 0: no limit.
    int64_t max_memory_bytes = 0;
  };
  // Of service and workers since some beginning, and of the workers now.
  struct Usage {
    double cpu_seconds = 0;
    int64_t memory_bytes = 0;
  };
  struct Stats {
    // In use of late, and the most that streams may need.
    double cpu_cores = 0;
    double cpu_cores_limit = 0;
    // Starts, by reason: "max_streams", "cpu", "memory", "missed_samples".
    std::map<std::string, int64_t> refused;
  };

  explicit StreamAdmission(const Options& options) : options_(options) {}

  // Of a stream that should run.
  void SampleTaken(const std::string& stream_id, double decode_seconds,
                   double encode_seconds, absl::Duration now);
  void SamplesMissed(absl::string_view reason, int64_t count,
                     absl::Duration now);

  // Called about once a second, on the steady clock; more often changes
  // nothing. `streams` should run.
  void Measure(const Usage& usage, const std::vector<StreamLoad>& streams,
               absl::Duration now);

  // kResourceExhausted with what `candidate`, a stream's sources, would need
  // and what is in use, and a retry delay. `streams` should run.
  absl::Status Admit(const std::vector<StreamLoad>& candidate,
                     const std::vector<StreamLoad>& streams,
                     absl::Duration now);

  Stats stats() const;

 private:
  // CPU seconds for each sample, averaged.
  struct Cost {
    double decode = 0;
    double encode = 0;
    int samples = 0;
    // As the stream was measured last.
    StreamLoad load;
  };
  // Samples of one second.
  struct Second {
    int64_t at = 0;
    int64_t due = 0;
    int64_t overload = 0;
    int64_t late = 0;
  };

  Second& ThisSecond(absl::Duration now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool Measured() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  double CoresInUse() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Cores that sampling takes where nothing is known of the stream itself.
  double SamplingOf(const StreamLoad& load) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Cores that the stream takes.
  double Need(const StreamLoad& load) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status Refuse(const char* reason, const std::string& message)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const Options options_;

  mutable absl::Mutex mu_;
  absl::flat_hash_map<std::string, Cost> costs_ ABSL_GUARDED_BY(mu_);
  // Since when it receives.
  absl::flat_hash_map<std::string, absl::Duration> since_ ABSL_GUARDED_BY(mu_);
  // The last minute's.
  std::deque<Second> seconds_ ABSL_GUARDED_BY(mu_);
  bool begun_ ABSL_GUARDED_BY(mu_) = false;
  absl::Duration measured_at_ ABSL_GUARDED_BY(mu_);
  Usage usage_ ABSL_GUARDED_BY(mu_);
  // Of the workers before the first stream; 0: not known.
  int64_t idle_memory_ ABSL_GUARDED_BY(mu_) = 0;
  // Since measured_at_, CPU seconds.
  double sampling_ ABSL_GUARDED_BY(mu_) = 0;
  // Faded sums: all CPU seconds and the seconds they were used in, CPU seconds
  // less those of sampling and the seconds of receiving streams.
  double cpu_ ABSL_GUARDED_BY(mu_) = 0;
  double wall_ ABSL_GUARDED_BY(mu_) = 0;
  double rest_ ABSL_GUARDED_BY(mu_) = 0;
  double stream_seconds_ ABSL_GUARDED_BY(mu_) = 0;
  double receiving_ ABSL_GUARDED_BY(mu_) = 0;
  std::map<std::string, int64_t> refused_ ABSL_GUARDED_BY(mu_);
};

}  // namespace camherd::capture
