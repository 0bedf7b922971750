// SPDX-License-Identifier: Apache-2.0
#include "services/capture/stream_feed.h"

#include <utility>

namespace camherd::capture {
namespace {

constexpr size_t kKept = 4096;

// The stream without what every sample and every look at the clock changes.
std::string WithoutCounters(v1::Stream stream) {
  stream.clear_accounting();
  stream.clear_last_frame_at();
  stream.clear_last_frame_age_seconds();
  stream.clear_last_frame_luma();
  stream.clear_gop_seconds();
  stream.clear_batches_pending();
  stream.clear_brightest_count();
  stream.clear_spool_bytes();
  stream.clear_received_bytes();
  if (stream.has_detect()) {
    v1::SourceStatus& detect = *stream.mutable_detect();
    detect.clear_last_frame_at();
    detect.clear_last_frame_age_seconds();
    detect.clear_gop_seconds();
    detect.clear_received_bytes();
  }
  return stream.SerializeAsString();
}

}  // namespace

StreamFeed::StreamFeed(ReadFn read) : read_(std::move(read)), ring_(kKept) {}

void StreamFeed::Start() {
  thread_ = std::thread([this] { Run(); });
}

void StreamFeed::Know(const v1::Stream& stream) {
  absl::MutexLock lock(&mu_);
  told_[stream.stream_id()] = WithoutCounters(stream);
}

void StreamFeed::Changed(const std::string& stream_id) {
  absl::MutexLock lock(&mu_);
  marked_.try_emplace(stream_id, false);
}

void StreamFeed::Counted(const std::string& stream_id) {
  // Nobody comes back for these.
  if (!ring_.watched()) return;
  absl::MutexLock lock(&mu_);
  marked_[stream_id] = true;
}

void StreamFeed::LookAt(const v1::Stream& stream) {
  const std::string now = WithoutCounters(stream);
  absl::MutexLock lock(&mu_);
  const auto told = told_.find(stream.stream_id());
  if (told == told_.end() || told->second != now) {
    marked_.try_emplace(stream.stream_id(), false);
  }
}

void StreamFeed::Stop() {
  {
    absl::MutexLock lock(&mu_);
    stopped_ = true;
  }
  ring_.Close();
  if (thread_.joinable()) thread_.join();
}

void StreamFeed::Run() {
  while (true) {
    std::map<std::string, bool> marked;
    {
      absl::MutexLock lock(&mu_);
      mu_.Await(absl::Condition(
          +[](StreamFeed* feed) ABSL_NO_THREAD_SAFETY_ANALYSIS {
            return feed->stopped_ || !feed->marked_.empty();
          },
          this));
      if (stopped_) return;
      marked.swap(marked_);
    }
    for (const auto& [stream_id, counted] : marked) {
      Tell(stream_id, counted);
    }
  }
}

void StreamFeed::Tell(const std::string& stream_id, bool counted) {
  std::optional<v1::Stream> stream = read_(stream_id);
  v1::WatchStreamsResponse event;
  if (!stream.has_value()) {
    v1::Stream last;
    {
      absl::MutexLock lock(&mu_);
      const auto told = told_.find(stream_id);
      if (told == told_.end()) return;
      last.ParseFromString(told->second);
      told_.erase(told);
    }
    v1::Stream& ids = *event.mutable_stream();
    ids.set_stream_id(last.stream_id());
    ids.set_session_id(last.session_id());
    ids.set_camera_id(last.camera_id());
    ids.set_process_name(last.process_name());
    event.set_deleted(true);
    ring_.Add(std::move(event), stream_id);
    return;
  }
  std::string now = WithoutCounters(*stream);
  bool sample = false;
  {
    absl::MutexLock lock(&mu_);
    std::string& told = told_[stream_id];
    sample = told == now;
    if (!sample) told = std::move(now);
  }
  if (sample && !counted) return;
  *event.mutable_stream() = *std::move(stream);
  event.set_sample(sample);
  ring_.Add(std::move(event), stream_id, /*replaceable=*/sample);
}

}  // namespace camherd::capture
