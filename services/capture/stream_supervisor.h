// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "camherd/v1/capture_service.pb.h"
#include "camherd/v1/worker.pb.h"
#include "services/capture/batch_sender.h"
#include "services/capture/camera_book.h"
#include "services/capture/connect_gate.h"
#include "services/capture/connect_queue.h"
#include "services/capture/peers.h"
#include "services/capture/spool_room.h"
#include "services/capture/stream_admission.h"
#include "services/capture/stream_feed.h"
#include "services/capture/stream_request.h"
#include "services/capture/stream_session.h"
#include "services/capture/stream_store.h"
#include "services/capture/worker_link.h"
#include "services/common/clock.h"

namespace camherd::capture {

// What the whole service counts, of one moment.
struct CaptureSnapshot {
  // Sum over all sessions there ever were.
  v1::Accounting total;
  std::map<v1::StreamState, int64_t> streams;
  // Of those that should run.
  std::map<v1::CameraCondition, int64_t> conditions;
  struct Camera {
    std::string camera_id;
    // Frames come, or are expected to.
    bool running = false;
    absl::Duration interval;
    // InfinitePast: none yet.
    absl::Time last_frame_at;
    // Of the session.
    v1::Accounting accounting;
  };
  // Of streams that should run, one each.
  std::vector<Camera> cameras;
  int64_t batches_pending = 0;
  int64_t spool_bytes = 0;
  // Of all streams together.
  int64_t spool_limit_bytes = 0;
  // Running streams whose interval is widened.
  int64_t widened_streams = 0;
  // -1: not known.
  int64_t disk_free_bytes = 0;
  // Streams that wait to connect.
  int64_t connects_waiting = 0;
  // Since the service started.
  int64_t received_bytes = 0;
  WorkerStats workers;
  StreamAdmission::Stats admission;
  // Since the aggregator told of its cameras last; std::nullopt: never in this
  // run.
  std::optional<absl::Duration> camera_data_age;
};

// Decides which streams there are: identity and names, start, stop, update,
// delete, history, resumption after a restart; keeps the spool within its
// quotas. Each stream's frames and batches are its StreamSession's business.
//
// Over a quota the oldest sealed batches are dropped ("quota"), never one that
// is in flight or whose fate is unknown: it may be recorded already, and would
// be counted wrongly. Where nothing may be dropped, what is open is sealed as
// a shorter batch and the stream pauses (missed "spool_full") until there is
// room again: the spool never grows past its quota by more than a batch.
// Streams without a model put nothing into the spool, so they never pause.
// Before that, the intervals of streams with models are widened as a quota
// fills; while the disk is full all streams pause (missed "disk_full").
//
// A stream whose lease is over is stopped as StopStream does it, by a thread of
// its own; the grid is tried again until it is made, after a restart too. Until
// then the stream is no history that may be forgotten.
// Which privacy masks a stream's pictures have is the CameraBook's to know; a
// stream whose masks are not known takes none (missed "camera_unknown").
//
// Lifecycle: Create -> Start -> events and calls -> Shutdown. Thread-safe.
// Calls named as the RPCs are, with their errors; StartStream, UpdateStream,
// StopStream and GetGrid may block for seconds on a peer.
class StreamSupervisor : public BatchOwner {
 public:
  struct Options {
    StreamSession::Options session;
    StreamDefaults defaults;
    BatchSender::Options sender;
    StreamAdmission::Options admission;
    // Stopped streams that are remembered.
    int history_streams = 1000;
    // Its path is that of `session`.
    SpoolRoom::Options spool;
    // Batches that have been sealed for longer are dropped.
    absl::Duration spool_max_age = absl::Hours(24);
    // Wait for a model's first word.
    absl::Duration prepare_timeout = absl::Seconds(5);
    // StopStream: waits for the worker, then for the grid; 5 s in all.
    absl::Duration stop_timeout = absl::Seconds(2);
    absl::Duration grid_timeout = absl::Milliseconds(2500);
    ConnectQueue::Options connects;
    CameraBook::Options cameras;
    absl::Duration housekeeping_interval = absl::Seconds(1);
    // Backoff before the grid of a stream that stopped by itself is tried
    // again.
    absl::Duration grid_retry_initial = absl::Seconds(1);
    absl::Duration grid_retry_max = absl::Seconds(60);
  };

  // All must outlive the supervisor; `observer` may be null.
  StreamSupervisor(const Options& options, StreamStore& store,
                   InferencePeer& inference, AggregatorPeer& aggregator,
                   SendObserver* observer, Clock& clock);
  ~StreamSupervisor() override;

  // Recovers the spool, assigns what should run to `worker`, begins to send.
  absl::Status Start(WorkerLink& worker);

  // Stops sending and the worker, and seals what is open. May be called twice.
  void Shutdown();

  // An event of the worker. Blocks while it is committed.
  void OnEvent(const v1::FromWorker& event);

  absl::StatusOr<v1::StartStreamResponse> StartStream(
      const v1::StartStreamRequest& request);
  absl::StatusOr<v1::StopStreamResponse> StopStream(
      const v1::StopStreamRequest& request);
  absl::StatusOr<v1::Stream> GetStream(const v1::GetStreamRequest& request);
  absl::StatusOr<v1::ListStreamsResponse> ListStreams(
      const v1::ListStreamsRequest& request);
  absl::StatusOr<v1::Stream> UpdateStream(
      const v1::UpdateStreamRequest& request);
  absl::StatusOr<v1::DeleteStreamResponse> DeleteStream(
      const v1::DeleteStreamRequest& request);
  absl::StatusOr<v1::GetLatestFrameResponse> GetLatestFrame(
      const v1::GetLatestFrameRequest& request);
  absl::StatusOr<v1::GetGridResponse> GetGrid(
      const v1::GetGridRequest& request);

  absl::StatusOr<CaptureSnapshot> Snapshot();

  // For a watchdog: goes through every stream's state and the store, and comes
  // back once nobody holds them. kUnavailable: housekeeping, whose turn is
  // every `housekeeping_interval`, has not come round for a minute.
  absl::Status CheckAlive();

  // What changes about streams. Closed by Shutdown, or before by StopWatches,
  // which is called before the server stops: nothing else ends a watch.
  StreamFeed::Ring& events() { return feed_.ring(); }
  void StopWatches() { feed_.Stop(); }

  // As SpoolRoom's.
  void WatchReadiness(SpoolRoom::OnReadiness on_readiness) {
    room_.WatchReadiness(std::move(on_readiness));
  }

 private:
  struct Entry;
  // shared_ptr: calls and events go on with an entry that DeleteStream takes
  // out meanwhile.
  using EntryPtr = std::shared_ptr<Entry>;

  absl::StatusOr<OutgoingBatch> LoadBatch(const BatchKey& key) override;
  absl::Status SetFateUnknown(const BatchKey& key, bool unknown) override;
  absl::Status BatchRecorded(const BatchKey& key,
                             const v1::InferBatchResponse& answer) override;
  absl::Status BatchDropped(const BatchKey& key, const std::string& reason,
                            const absl::Status& why) override;
  void BatchDelayed(const BatchKey& key, const absl::Status& why,
                    absl::Duration pause) override;

  absl::StatusOr<EntryPtr> Resolve(absl::string_view field,
                                   const std::string& name);
  // The running stream that the request means, if any; ALREADY_EXISTS if it
  // runs with something else.
  absl::StatusOr<EntryPtr> FindRunning(const StreamRequest& request)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status PrepareModels(const std::vector<std::string>& models);
  EntryPtr FindSession(const std::string& session_id);
  EntryPtr FindStream(const std::string& stream_id);
  std::vector<EntryPtr> AllEntries();
  // Tells the worker what to do for all of the stream's sources, or for one.
  void Assign(Entry& entry);
  void Assign(Entry& entry, SourceRole role);
  void Revoke(Entry& entry, SourceRole role);
  void OnConnectNews(const ConnectQueue::News& news);
  void OnMaskNews(const CameraBook::MaskNews& news);
  // Desired is stopped: durably, for names, and for the worker. `reason`: why,
  // where nobody asked for it.
  absl::Status EndRunning(Entry& entry, const std::string& reason = "");
  // The second half of a stop: waits for the worker, seals, and makes the grid
  // or says why there is none.
  absl::StatusOr<v1::StopStreamResponse> FinishStop(Entry& entry);
  void LeaseLoop();
  // Ends what runs on a lease that is over. Leaves out those that another call
  // is at work on.
  void EndLeases();
  // Makes one grid that is owed; false: none is to be made now.
  bool MakeOwedGrid();
  void WakeLeaseKeeper();
  void TellSettled(const Entry& entry);
  // For the feed.
  std::optional<v1::Stream> ReadStream(const std::string& stream_id);
  // One of Accounting.missed; empty: it goes on.
  void Pause(Entry& entry, const std::string& reason);
  void EnforceQuotas(Entry& entry);
  // Pauses, goes on, and widens or narrows the interval as there is room.
  void FollowRoom(Entry& entry);
  bool DropOldest(const std::string& session_id);
  void Reassign(const EntryPtr& entry, SourceRole role);
  absl::Status Forget(const EntryPtr& entry);
  void RemoveUnknownFolders(const std::string& root);
  void DropOverdue(StreamSession& session);
  std::vector<StreamLoad> RunningLoads() const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Tells admission what was used.
  void Measure(const std::vector<StreamLoad>& streams);
  void HousekeepingLoop();
  void Housekeep();

  const Options options_;
  StreamStore& store_;
  InferencePeer& inference_;
  AggregatorPeer& aggregator_;
  Clock& clock_;
  std::atomic<int64_t> total_spool_bytes_{0};
  SpoolRoom room_;
  BatchSender sender_;
  StreamAdmission admission_;
  StreamFeed feed_;
  // Set by Start, before anything uses it.
  WorkerLink* worker_ = nullptr;
  std::thread housekeeper_;
  std::thread lease_keeper_;

  // Wakes both. Not an absl::Mutex: its timeouts go by the wall clock, so a
  // host whose clock is set back would keep no house for as long.
  std::mutex wake_mu_;
  std::condition_variable wake_;
  bool woken_ = false;           // To end. Guarded by wake_mu_.
  bool lease_over_ = false;      // Of some stream. Guarded by wake_mu_.
  absl::Duration housekept_at_;  // Steady time. Guarded by wake_mu_.

  // Taken before a session's mutex, after an entry's.
  mutable absl::Mutex mu_;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  // By stream id (in order of start), by session id, and the running ones by
  // process name.
  std::map<std::string, EntryPtr> by_id_ ABSL_GUARDED_BY(mu_);
  std::map<std::string, EntryPtr> by_session_ ABSL_GUARDED_BY(mu_);
  std::map<std::string, EntryPtr> running_ ABSL_GUARDED_BY(mu_);
  // Deleted before the worker had ended them, by stream id.
  std::map<std::string, EntryPtr> leaving_ ABSL_GUARDED_BY(mu_);
  int64_t started_ ABSL_GUARDED_BY(mu_) = 0;
  // Of streams that were forgotten.
  int64_t received_before_ ABSL_GUARDED_BY(mu_) = 0;

  // Last: their threads use all of the above.
  ConnectGate gate_;
  CameraBook cameras_;
};

}  // namespace camherd::capture
