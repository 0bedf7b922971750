// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "camherd/v1/capture_service.pb.h"
#include "gateway/backend_clients.h"
#include "gateway/live_body.h"
#include "gateway/live_count.h"
#include "services/common/worker_pool.h"

namespace camherd::gateway {

// The pictures of streams as they come, as multipart/x-mixed-replace. All who
// watch the same picture (stream, boxes, width) share one feed: capture is
// asked once for each new sample, when it has told of it, and never where
// nobody watches. A viewer gets the newest picture when it has taken the one
// before: a slow one skips, nothing is queued.
//
// Fetches run on a few threads; one that finds none free is left to the next
// sample.
//
// Lifecycle: constructed -> Stop, after BackendClients::Cancel and after the
// last OnStream. Thread-safe.
class LivePictures {
 public:
  static constexpr char kBoundary[] = "frame";

  struct Options {
    size_t threads = 4;
    size_t queue = 256;
  };

  // `clients` must outlive it.
  LivePictures(const Options& options, BackendClients& clients);
  ~LivePictures();

  // What the newest picture is asked by, for `stream` any of its names. Blocks.
  // Errors of GetStream and GetLatestFrame, but not that there is no picture
  // yet; kFailedPrecondition: the stream is stopped.
  absl::StatusOr<std::shared_ptr<LiveBody>> View(
      v1::GetLatestFrameRequest request, LiveCount::Place place);

  // As EventHub::OnStream.
  void OnStream(const v1::WatchStreamsResponse* news);

  void Stop();

 private:
  class Feed;
  class Viewer;
  using FeedPtr = std::shared_ptr<Feed>;

  FeedPtr FeedOf(const v1::GetLatestFrameRequest& request);
  std::vector<FeedPtr> Feeds();
  // Has the feed's picture fetched; `look`: whether there is still a stream,
  // too.
  void Refresh(const FeedPtr& feed, bool look);
  void Fetch(const FeedPtr& feed);

  BackendClients& clients_;
  absl::Mutex mu_;
  // By the request. weak_ptr: they go with their last viewer.
  std::map<std::string, std::weak_ptr<Feed>> feeds_ ABSL_GUARDED_BY(mu_);
  WorkerPool fetches_;
};

}  // namespace camherd::gateway
