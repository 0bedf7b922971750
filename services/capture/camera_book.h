// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "camherd/v1/camera.pb.h"
#include "services/capture/peers.h"
#include "services/capture/stream_store.h"
#include "services/common/clock.h"

namespace camherd::capture {

// What capture knows of the cameras, which are the aggregator's: privacy masks
// and which detections count. A copy, kept in the store, so that streams start
// without the aggregator; one small call for all cameras, what changed since
// the last revision, keeps it fresh.
//
// Until the aggregator has answered once nothing is known, and nobody may take
// a picture: a mask that is not known must be assumed. From then on a camera
// that the aggregator did not tell has none; so have all where the aggregator
// is one that knows no cameras (kUnimplemented, kNotFound).
//
// An aggregator whose revision went back has another store: everything is read
// anew, and what it does not have is forgotten.
//
// Lifecycle: Load -> Refresh -> Start -> Stop. Thread-safe. `on_masks` is
// called from Refresh and the own thread, one at a time, after the copy has
// changed.
class CameraBook {
 public:
  struct Options {
    absl::Duration refresh = absl::Seconds(5);
    // While the aggregator does not answer: backs off from here to `refresh`.
    absl::Duration retry = absl::Seconds(1);
    absl::Duration timeout = absl::Seconds(2);
  };
  // Cameras whose masks have changed; all of them where `all` is true, since
  // they are known for the first time.
  struct MaskNews {
    bool all = false;
    std::set<std::string> camera_ids;
  };
  using OnMasks = std::function<void(const MaskNews&)>;

  // All must outlive the book.
  CameraBook(const Options& options, StreamStore& store,
             AggregatorPeer& aggregator, OnMasks on_masks, Clock& clock);
  ~CameraBook();

  // Takes up the copy of the store, if there is one.
  absl::Status Load();

  // Asks the aggregator now; blocks for `timeout` at most, and for as long
  // again where a call is on its way already. Calls that wait share the next
  // answer. False: it did not answer, the copy stays as it is.
  bool Refresh();

  // Refreshes from now on.
  void Start();
  // Called twice is once. Calls in flight are the peer's to cancel.
  void Stop();

  // std::nullopt: not known.
  std::optional<std::vector<v1::Polygon>> PrivacyMasks(
      const std::string& camera_id) const;
  // Empty where nothing is known, or there is none.
  v1::DetectionFilter Filter(const std::string& camera_id) const;

  // Since the aggregator answered last; std::nullopt: not in this run.
  std::optional<absl::Duration> age() const;

 private:
  // Of the aggregator, page by page.
  absl::StatusOr<v1::ListCamerasResponse> Ask(int64_t after_revision);
  absl::Status Learn() ABSL_EXCLUSIVE_LOCKS_REQUIRED(refresh_mu_);
  MaskNews Apply(const v1::ListCamerasResponse& answer, bool anew)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(refresh_mu_);
  void Save() ABSL_EXCLUSIVE_LOCKS_REQUIRED(refresh_mu_);
  void Loop();

  const Options options_;
  StreamStore& store_;
  AggregatorPeer& aggregator_;
  const OnMasks on_masks_;
  Clock& clock_;

  // Calls of Refresh so far.
  std::atomic<int64_t> asked_{0};

  // Held by the one that asks. Before mu_.
  absl::Mutex refresh_mu_;
  // `asked_` when the last call began, and what came of it.
  int64_t served_ ABSL_GUARDED_BY(refresh_mu_) = 0;
  bool answered_ ABSL_GUARDED_BY(refresh_mu_) = true;
  // What the store does not have yet.
  bool unsaved_ ABSL_GUARDED_BY(refresh_mu_) = false;

  mutable absl::Mutex mu_;
  bool known_ ABSL_GUARDED_BY(mu_) = false;
  int64_t revision_ ABSL_GUARDED_BY(mu_) = 0;
  // Those that have masks or a filter, nothing else in them.
  std::map<std::string, v1::Camera> cameras_ ABSL_GUARDED_BY(mu_);
  std::optional<absl::Duration> answered_at_ ABSL_GUARDED_BY(mu_);

  // Wakes Loop. Not an absl::Mutex: its timeouts go by the wall clock.
  std::mutex wake_mu_;
  std::condition_variable wake_;
  bool stopping_ = false;  // Guarded by wake_mu_.
  std::thread thread_;
};

}  // namespace camherd::capture
