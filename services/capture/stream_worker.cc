// SPDX-License-Identifier: Apache-2.0
#include "services/capture/stream_worker.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "services/capture/camera_stream.h"
#include "services/capture/decode_pool.h"
#include "services/common/log.h"

namespace camherd::capture {

class StreamWorker::Impl {
 public:
  Impl(const Options& options, PacketSourceFactory sources, EventSink on_event,
       Clock& clock)
      : options_(options),
        sources_(std::move(sources)),
        on_event_(std::move(on_event)),
        clock_(clock),
        pool_({.threads = options.decode_threads,
               .jpeg_quality = options.jpeg_quality}) {}

  void Handle(const v1::ToWorker& message) {
    // Freed without the lock: ending a stream joins its thread.
    std::vector<std::shared_ptr<CameraStream>> ended;
    absl::MutexLock lock(&mu_);
    std::swap(ended, ending_);
    for (std::shared_ptr<CameraStream>& stream : ended) {
      if (!stream->ended()) ending_.push_back(std::move(stream));
    }
    switch (message.message_case()) {
      case v1::ToWorker::kAssign:
        Assign(message.assign());
        break;
      case v1::ToWorker::kRevoke:
        Revoke(message.revoke().stream_id());
        break;
      case v1::ToWorker::kPause: {
        const auto found = streams_.find(message.pause().stream_id());
        if (found == streams_.end()) {
          LogUnknown(message.pause().stream_id());
          break;
        }
        found->second->Pause(message.pause().paused(),
                             message.pause().reason());
        break;
      }
      case v1::ToWorker::kGrant: {
        // Late for a stream that was revoked meanwhile.
        const auto found = streams_.find(message.grant().stream_id());
        if (found == streams_.end()) break;
        found->second->Grant(message.grant().request());
        break;
      }
      // The worker process's own (RunWorkerProcess).
      case v1::ToWorker::kConfigure:
      case v1::ToWorker::kPing:
      case v1::ToWorker::kProbe:
      case v1::ToWorker::MESSAGE_NOT_SET:
        LogWarning("message that is none for a stream worker");
        break;
    }
  }

  void Stop() {
    std::vector<std::shared_ptr<CameraStream>> ending;
    {
      absl::MutexLock lock(&mu_);
      stopped_ = true;
      for (auto& [id, stream] : streams_) {
        stream->Revoke();
        ending_.push_back(std::move(stream));
      }
      streams_.clear();
      ending = std::move(ending_);
      ending_.clear();
    }
    for (const std::shared_ptr<CameraStream>& stream : ending) stream->Join();
    ending.clear();
    pool_.Stop();
  }

 private:
  void Assign(const v1::AssignStream& assignment)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    const std::string& id = assignment.stream_id();
    if (stopped_) {
      LogWarning("stream assigned to a stopped worker", {{"stream", id}});
      return;
    }
    const auto found = streams_.find(id);
    if (found != streams_.end()) {
      found->second->Assign(assignment);
      return;
    }
    std::shared_ptr<CameraStream> predecessor;
    for (size_t i = 0; i < ending_.size(); ++i) {
      if (ending_[i]->stream_id() != id) continue;
      predecessor = std::move(ending_[i]);
      ending_.erase(ending_.begin() + static_cast<std::ptrdiff_t>(i));
      break;
    }
    streams_[id] = std::make_shared<CameraStream>(
        CameraStream::Context{options_, sources_, on_event_, clock_, pool_},
        assignment, std::move(predecessor));
  }

  void Revoke(const std::string& id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    const auto found = streams_.find(id);
    if (found == streams_.end()) {
      LogUnknown(id);
      return;
    }
    found->second->Revoke();
    ending_.push_back(std::move(found->second));
    streams_.erase(found);
  }

  static void LogUnknown(const std::string& id) {
    LogWarning("message for a stream that does not run here", {{"stream", id}});
  }

  const Options options_;
  const PacketSourceFactory sources_;
  const EventSink on_event_;
  Clock& clock_;
  DecodePool pool_;

  absl::Mutex mu_;
  bool stopped_ ABSL_GUARDED_BY(mu_) = false;
  // shared_ptr: a stream's successor waits for its end.
  absl::flat_hash_map<std::string, std::shared_ptr<CameraStream>> streams_
      ABSL_GUARDED_BY(mu_);
  // Revoked; their threads may still be at work.
  std::vector<std::shared_ptr<CameraStream>> ending_ ABSL_GUARDED_BY(mu_);
};

StreamWorker::StreamWorker(const Options& options, PacketSourceFactory sources,
                           EventSink on_event, Clock& clock)
    : impl_(std::make_unique<Impl>(options, std::move(sources),
                                   std::move(on_event), clock)) {}

StreamWorker::~StreamWorker() { Stop(); }

void StreamWorker::Handle(const v1::ToWorker& message) {
  impl_->Handle(message);
}

void StreamWorker::Stop() { impl_->Stop(); }

}  // namespace camherd::capture
