// SPDX-License-Identifier: Apache-2.0
#include "services/capture/stream_admission.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "services/common/retry_delay.h"

namespace camherd::capture {
namespace {

constexpr double kFadingSeconds = 30;
constexpr absl::Duration kMeasureEvery = absl::Seconds(1);
// A stream that has received for so long has its connect behind it.
constexpr absl::Duration kSettled = absl::Seconds(10);
constexpr double kSettledShare = 0.8;
// Of streams, in all, before anything is said of them.
constexpr double kEnoughStreamSeconds = 5;
// The newest sample's least weight.
constexpr double kNewest = 0.2;
constexpr int64_t kMinute = 60;
// So many samples missed in the last minute, and so large a share of those
// due, are no accident.
constexpr int64_t kManyMissed = 10;
constexpr double kMissedShare = 0.05;
// Below this share of the limit a late sample is the camera's doing.
constexpr double kBusyShare = 0.5;
constexpr absl::Duration kRetry = absl::Seconds(30);
constexpr double kMiB = 1 << 20;
// As FramePicker's.
constexpr double kKeyframeGop = 1.25;

v1::SamplingMode ModeInUse(v1::SamplingMode mode, double gop_seconds,
                           double interval_seconds) {
  if (mode != v1::SAMPLING_MODE_AUTO && mode != v1::SAMPLING_MODE_UNSPECIFIED) {
    return mode;
  }
  return gop_seconds > 0 && gop_seconds <= kKeyframeGop * interval_seconds
             ? v1::SAMPLING_MODE_KEYFRAME
             : v1::SAMPLING_MODE_EXACT;
}

// How much of the video mode exact decodes.
double ExactShare(double gop_seconds, double interval_seconds) {
  if (gop_seconds <= 0) return 1;
  return std::min(1.0, gop_seconds / (2 * interval_seconds));
}

}  // namespace

StreamAdmission::Second& StreamAdmission::ThisSecond(absl::Duration now) {
  const int64_t second = absl::ToInt64Seconds(now);
  if (seconds_.empty() || seconds_.back().at < second) {
    seconds_.push_back({.at = second});
  }
  while (seconds_.front().at <= second - kMinute) seconds_.pop_front();
  return seconds_.back();
}

void StreamAdmission::SampleTaken(const std::string& stream_id,
                                  double decode_seconds, double encode_seconds,
                                  absl::Duration now) {
  absl::MutexLock lock(&mu_);
  ++ThisSecond(now).due;
  sampling_ += decode_seconds + encode_seconds;
  Cost& cost = costs_[stream_id];
  const double weight = std::max(kNewest, 1.0 / ++cost.samples);
  cost.decode += weight * (decode_seconds - cost.decode);
  cost.encode += weight * (encode_seconds - cost.encode);
}

void StreamAdmission::SamplesMissed(absl::string_view reason, int64_t count,
                                    absl::Duration now) {
  if (reason != "overload" && reason != "late") return;
  absl::MutexLock lock(&mu_);
  Second& second = ThisSecond(now);
  second.due += count;
  (reason == "late" ? second.late : second.overload) += count;
}

void StreamAdmission::Measure(const Usage& usage,
                              const std::vector<StreamLoad>& streams,
                              absl::Duration now) {
  absl::MutexLock lock(&mu_);
  if (begun_ && now - measured_at_ < kMeasureEvery) return;
  absl::flat_hash_set<std::string> known;
  int64_t receiving = 0;
  int64_t settled = 0;
  for (const StreamLoad& stream : streams) {
    known.insert(stream.stream_id);
    if (const auto cost = costs_.find(stream.stream_id); cost != costs_.end()) {
      cost->second.load = stream;
    }
    if (!stream.receiving) {
      since_.erase(stream.stream_id);
      continue;
    }
    const auto since = since_.try_emplace(stream.stream_id, now).first;
    ++receiving;
    if (now - since->second >= kSettled) ++settled;
  }
  const auto gone = [&](const auto& item) {
    return known.count(item.first) == 0;
  };
  absl::erase_if(costs_, gone);
  absl::erase_if(since_, gone);

  const double seconds = absl::ToDoubleSeconds(now - measured_at_);
  const double cpu = std::max(0.0, usage.cpu_seconds - usage_.cpu_seconds);
  const double sampling = std::exchange(sampling_, 0.0);
  const bool begun = std::exchange(begun_, true);
  measured_at_ = now;
  usage_ = usage;
  receiving_ = static_cast<double>(receiving);
  idle_memory_ = receiving == 0 && !begun
                     ? usage.memory_bytes
                     : std::min(idle_memory_, usage.memory_bytes);
  if (!begun) return;
  const double fading = std::exp(-seconds / kFadingSeconds);
  cpu_ = fading * cpu_ + cpu;
  wall_ = fading * wall_ + seconds;
  if (settled == 0 || settled < kSettledShare * receiving_) return;
  rest_ = fading * rest_ + cpu - sampling;
  stream_seconds_ = fading * stream_seconds_ + seconds * receiving_;
}

bool StreamAdmission::Measured() const {
  return stream_seconds_ >= kEnoughStreamSeconds;
}

double StreamAdmission::CoresInUse() const {
  return wall_ > 0 ? cpu_ / wall_ : 0;
}

double StreamAdmission::SamplingOf(const StreamLoad& load) const {
  double of_its_mode = 0;
  double of_all = 0;
  for (const auto& [id, cost] : costs_) {
    const StreamLoad& other = cost.load;
    // A stream that was not measured yet since it began.
    if (other.stream_id.empty()) continue;
    const double gop = other.gop_seconds;
    const v1::SamplingMode mode =
        ModeInUse(load.mode, gop, load.interval_seconds);
    const double encode = cost.encode / load.interval_seconds;
    of_all = std::max(of_all, cost.decode / load.interval_seconds + encode);
    if (ModeInUse(other.mode, gop, other.interval_seconds) != mode) continue;
    double decode = cost.decode / other.interval_seconds;
    if (mode == v1::SAMPLING_MODE_KEYFRAME) {
      decode = cost.decode / load.interval_seconds;
    } else if (mode == v1::SAMPLING_MODE_EXACT) {
      decode *= ExactShare(gop, load.interval_seconds) /
                ExactShare(gop, other.interval_seconds);
    }
    of_its_mode = std::max(of_its_mode, decode + encode);
  }
  return of_its_mode > 0 ? of_its_mode : of_all;
}

double StreamAdmission::Need(const StreamLoad& load) const {
  const double rest = std::max(0.0, rest_) / stream_seconds_;
  const auto own = costs_.find(load.stream_id);
  if (own == costs_.end()) return rest + SamplingOf(load);
  return rest +
         (own->second.decode + own->second.encode) / load.interval_seconds;
}

absl::Status StreamAdmission::Refuse(const char* reason,
                                     const std::string& message) {
  ++refused_[reason];
  return WithRetryDelay(absl::ResourceExhaustedError(message), kRetry);
}

absl::Status StreamAdmission::Admit(const std::vector<StreamLoad>& candidate,
                                    const std::vector<StreamLoad>& streams,
                                    absl::Duration now) {
  absl::MutexLock lock(&mu_);
  const auto running = std::count_if(
      streams.begin(), streams.end(),
      [](const StreamLoad& stream) { return !stream.second_source; });
  if (running >= options_.max_streams) {
    ++refused_["max_streams"];
    return absl::ResourceExhaustedError(absl::StrCat(
        "max_streams is ", options_.max_streams, ", and as many run"));
  }
  // Alone it has the box, whatever the last ones cost.
  if (!options_.enabled || !Measured() || streams.empty()) {
    return absl::OkStatus();
  }

  double need = 0;
  for (const StreamLoad& source : candidate) need += Need(source);
  const double memory_each =
      receiving_ > 0
          ? static_cast<double>(usage_.memory_bytes - idle_memory_) / receiving_
          : 0;
  const double memory = memory_each * static_cast<double>(candidate.size());
  const std::string would_need =
      absl::StrFormat("a stream at %g s would need %.2g cores and %.1f MiB; ",
                      candidate.front().interval_seconds, need, memory / kMiB);

  double in_use = 0;
  for (const StreamLoad& stream : streams) in_use += Need(stream);
  const double limit = options_.max_cpu_share * options_.cores;
  if (in_use + need > limit) {
    return Refuse("cpu", absl::StrFormat(
                             "%s%.3g of %.3g cores (max_cpu_share %g of %g) "
                             "are in use by %d streams",
                             would_need, in_use, limit, options_.max_cpu_share,
                             options_.cores, running));
  }
  // Those that have not begun to receive will have theirs.
  const double memory_in_use =
      static_cast<double>(usage_.memory_bytes) +
      memory_each *
          std::max(0.0, static_cast<double>(streams.size()) - receiving_);
  if (options_.max_memory_bytes > 0 &&
      memory_in_use + memory > static_cast<double>(options_.max_memory_bytes)) {
    return Refuse(
        "memory",
        absl::StrFormat(
            "%s%.0f of %.0f MiB (worker_memory_bytes of all workers, or what "
            "the machine has) are in use by %d streams",
            would_need, memory_in_use / kMiB,
            static_cast<double>(options_.max_memory_bytes) / kMiB, running));
  }
  Second sum;
  ThisSecond(now);
  for (const Second& second : seconds_) {
    sum.due += second.due;
    sum.overload += second.overload;
    sum.late += second.late;
  }
  const int64_t missed =
      sum.overload + (CoresInUse() > kBusyShare * limit ? sum.late : 0);
  if (missed >= kManyMissed &&
      static_cast<double>(missed) >=
          kMissedShare * static_cast<double>(sum.due)) {
    return Refuse(
        "missed_samples",
        absl::StrFormat("%sin the last minute the %d streams that run missed "
                        "%d of %d samples for want of time (overload %d, late "
                        "%d)",
                        would_need, running, missed, sum.due, sum.overload,
                        missed - sum.overload));
  }
  return absl::OkStatus();
}

StreamAdmission::Stats StreamAdmission::stats() const {
  absl::MutexLock lock(&mu_);
  return {.cpu_cores = CoresInUse(),
          .cpu_cores_limit = options_.max_cpu_share * options_.cores,
          .refused = refused_};
}

}  // namespace camherd::capture
