// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "camherd/v1/capture_service.pb.h"
#include "camherd/v1/stream.pb.h"
#include "camherd/v1/worker.pb.h"
#include "services/capture/batch_sender.h"
#include "services/capture/brightness_ranker.h"
#include "services/capture/condition_judge.h"
#include "services/capture/stream_store.h"
#include "services/common/camera_url.h"
#include "services/common/clock.h"

namespace camherd::capture {

// Which of a stream's sources: rtsp_url, and detect_url where there is one.
enum class SourceRole { kMain, kDetect };

// A source as the worker knows it (AssignStream.stream_id).
struct SourceId {
  std::string stream_id;
  SourceRole role = SourceRole::kMain;

  static SourceId Parse(absl::string_view id);
  std::string ToString() const;
};

// One stream from StartStream to StopStream and on until its spool is drained:
// its frames, its batches, its nine brightest and its counters, in the store
// and in its two folders. Takes the worker's events and the sender's results;
// leaves connections to the worker, scheduling to the sender, and identity to
// the supervisor.
//
// Where it has a second source (detect_url), the frames of that go into batches
// and those of the first are only ranked: they are written beside the nine, and
// the two number their frames each for itself. Which of the two ways a frame
// goes is told when it is assigned and stays with it (SampleTaken.ranked_only).
// A source that begins to fill the spool takes numbers above all that may be
// under way.
//
// Lifecycle: a row in the store -> constructed -> Recover once -> events. A
// disk that is full or fails stops none of this: what cannot be counted,
// sealed or made now waits for CatchUp.
//
// Thread-safe; `mu_` is taken before those of the store and the sender.
class StreamSession {
 public:
  struct Options {
    std::string data_dir;
    // fsync the frames of a batch before it is sealed.
    bool sync = true;
    std::string node_id;
    // Address told in manifests; empty: the one towards the camera.
    std::string host_ip;
    ConditionJudge::Options condition;
  };

  // All references must outlive the session; `total_spool_bytes` is the sum
  // over all sessions. Where `stored.url` does not parse the session has no
  // url() and says so in its state; its spool is sent all the same.
  StreamSession(const Options& options, const StreamStore::StoredStream& stored,
                StreamStore& store, BatchSender& sender, Clock& clock,
                std::atomic<int64_t>& total_spool_bytes);

  // After a start of the service: makes rows and files agree (a file without a
  // row goes; a row without a file is dropped for "file_lost", with its whole
  // batch if it is sealed), counts the due samples of the time the service was
  // down, and seals what a stopped stream left open. `batches` are the
  // session's own. What fails is logged.
  void Recover(const std::vector<StreamStore::BatchRow>& batches);

  // Makes the folders. Called before the stream is assigned.
  absl::Status MakeFolders();

  // Tries again what failed before: folders, missed samples that could not be
  // counted, batches that could not be sealed.
  void CatchUp();

  // What the worker is to do now for that source, but for the masks, whose
  // version it has: the caller adds those of that version or later. Due times
  // are `phase_share` intervals off. std::nullopt: there is no such source, or
  // it has no URL that can be used.
  std::optional<v1::AssignStream> Assignment(SourceRole role,
                                             double phase_share);

  // Events of the worker, between OnAssigned and OnEnded.
  void OnAssigned(SourceRole role);
  void OnSample(SourceRole role, const v1::SampleTaken& sample);
  void OnMissed(SourceRole role, const v1::SamplesMissed& missed);
  void OnState(SourceRole role, const v1::StateChanged& state);
  // What the connect gate says, while the worker waits for it and has nothing
  // to tell: the source waits for its turn, or for a session with its host to
  // end, or is connecting.
  void OnWaits(SourceRole role);
  void OnNoSession(SourceRole role, const std::string& reason);
  void OnConnecting(SourceRole role);
  // Where it is lost, the source is to be assigned again.
  void OnEnded(SourceRole role, const v1::StreamEnded& ended);

  // Other privacy masks are in force: pictures that do not have them yet are
  // not taken any more (missed "camera_unknown"), and where `forget` is set the
  // nine brightest so far are removed.
  void MasksChanged(bool forget);

  // Replaces what was asked for; frames taken under other models, or of another
  // source, are sealed first. A `spec` with ttl_seconds and without expires_at
  // renews the lease. kUnavailable: a second source is asked for, and the
  // worker has not left an earlier one yet.
  absl::Status Update(const v1::Stream& spec, const CameraUrl& url,
                      const std::optional<CameraUrl>& detect_url);
  // Why the lease of a running stream is over; empty: it is not. What comes
  // after the last frame of max_frames is thrown away and not counted, since
  // nothing is due any more.
  std::string LeaseOver();
  // Desired is stopped from now on, durably; `reason` is why it stops by
  // itself.
  absl::Status MarkStopped(const std::string& reason = "");
  // Waits until no worker has it (OnEnded), or that source of it. False after
  // `timeout`.
  bool AwaitEnded(absl::Duration timeout);
  bool AwaitEnded(SourceRole role, absl::Duration timeout);
  // Seals all that is open, the rest as a shorter batch.
  absl::Status SealAll();
  // Removes folders; later samples are thrown away. The caller removes the
  // rows.
  void Discard();

  // The sender's results, see BatchOwner.
  absl::StatusOr<OutgoingBatch> LoadBatch(const BatchKey& key);
  absl::Status BatchRecorded(const BatchKey& key,
                             const v1::InferBatchResponse& answer);
  absl::Status BatchDropped(const BatchKey& key, const std::string& reason);
  void BatchDelayed(const absl::Status& why);

  // A snapshot; its accounting is one snapshot of the store.
  absl::StatusOr<v1::Stream> Snapshot();
  // Without accounting: for names and filters.
  v1::Stream Spec() const;
  std::optional<CameraUrl> url(SourceRole role = SourceRole::kMain) const;
  // There is one: the second may not be.
  bool has_source(SourceRole role) const;
  v1::SourceStatus status(SourceRole role) const;
  // Since the service started, of all sources there were.
  int64_t received_bytes() const;
  bool desired_running() const;
  // It has models: its samples go into the spool.
  bool uses_spool() const;
  bool draining() const;
  int64_t spool_bytes() const;
  int64_t open_frames() const;
  bool auto_named() const { return auto_named_; }
  const std::string& stream_id() const { return stream_id_; }
  const std::string& session_id() const { return session_id_; }

  // Numbers of the pending batches that have been sealed for longer than
  // `age`. By the steady clock, so a host that sets its clock drops nothing;
  // the wall clock says only how old batches of an earlier run were when the
  // service started.
  std::set<int64_t> BatchesSealedFor(absl::Duration age) const;

  // Why sampling is paused, one of Accounting.missed; empty: it is not. For
  // want of room in the spool only the source waits that fills it. Returns what
  // the caller is to tell the worker.
  std::vector<v1::PauseSampling> SetPaused(const std::string& reason);
  // What holds for the source, for a worker that it is assigned to.
  v1::PauseSampling PauseOf(SourceRole role);
  std::string paused_for() const;

  // By how much the interval asked for is multiplied while the spool fills;
  // holds from the next assignment on.
  void SetWidened(int widened);
  int widened() const;

  // The nine with their pictures, brightest first.
  absl::StatusOr<std::vector<v1::Frame>> BrightestFrames();
  // What they are, without their pictures: of the grid StopStream has answered,
  // else as they are now.
  v1::Grid GridCells();
  // kNotFound: no sample yet, or none acknowledged.
  absl::StatusOr<v1::GetLatestFrameResponse> LatestFrame(bool acknowledged);

  // It stopped by itself, and nobody has made its grid yet.
  bool owes_grid() const;
  // The grid StopStream has answered, with its picture.
  std::optional<v1::RenderGridResponse> StoredGrid();
  void StoreGrid(const v1::RenderGridResponse& grid);

 private:
  struct Source {
    SourceRole role = SourceRole::kMain;
    // As it is stored, and read.
    std::string stored_url;
    std::optional<CameraUrl> url;
    // But for what follows from the clock.
    v1::SourceStatus status;
    absl::Time next_retry_at = absl::InfinitePast();
    absl::Time quarantined_until = absl::InfinitePast();
    std::optional<absl::Time> last_frame_at;
    // The same on the steady clock: a camera that is silent shows also after
    // the host's clock was set back.
    absl::Duration last_frame_steady;
    // Number of its newest frame, and of the next one.
    int64_t frame_seq = 0;
    int64_t next_frame_seq = 1;
    // Of earlier workers of this session, the bytes of this run of the service.
    int64_t connects_before = 0;
    int64_t disconnects_before = 0;
    int64_t received_before = 0;
    // What the worker gave as its state's reason last, and that the gate has
    // made another state of it since.
    std::string worker_reason;
    bool no_session = false;
    // The grid of due times as it was assigned last, and the newest of them
    // that is taken or missed, on the steady clock.
    absl::Duration grid_interval;
    absl::Duration grid_phase;
    absl::Duration counted_until;
    // Why its worker was told to pause last; empty: to go on.
    std::string told_pause;
    // Why its last sample could not be kept; empty: it was.
    std::string not_kept;
    // The next worker has not said a word yet.
    bool lost = false;
    // No worker has it.
    bool ended = true;
  };

  Source& Of(SourceRole role) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    return role == SourceRole::kMain ? main_ : detect_;
  }
  const Source& Of(SourceRole role) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    return role == SourceRole::kMain ? main_ : detect_;
  }
  bool Has(SourceRole role) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    return role == SourceRole::kMain || !stream_.detect_url().empty();
  }
  SourceRole Batched() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    return Has(SourceRole::kDetect) ? SourceRole::kDetect : SourceRole::kMain;
  }
  bool Ended() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    return main_.ended && detect_.ended;
  }
  // Reads stored_url.
  void ReadUrl(Source& source) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void SetUrl(Source& source, const CameraUrl& url)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Its first state.
  void Begin(Source& source) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // AssignStream.counted_until_seconds, for an assignment with this grid.
  absl::Duration CountedUntil(Source& source, absl::Duration interval,
                              absl::Duration phase)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // The folder its frames are written to.
  const std::string& FolderOf(bool ranked_only) const {
    return ranked_only ? brightest_dir_ : spool_dir_;
  }
  void SetEnded(Source& source, bool ended) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Between samples now.
  absl::Duration Interval() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // What the spool keeps it from; empty: nothing.
  std::string SpoolReason() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Why the source is to pause now.
  std::string PauseReason(const Source& source) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  v1::PauseSampling TellPause(SourceRole role)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // It has captured its max_frames.
  bool HasAllFrames() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void SetLeaseEnd() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void FollowHostClock() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void AddSpoolBytes(int64_t delta) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Judge(const v1::PictureLook& look) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void CommitSample(Source& source, const v1::SampleTaken& sample)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void CountMissed(Source& source, const std::string& reason, int64_t count)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Counts what could not be counted before.
  absl::Status CountUncounted() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Samples that fell due while the service was down.
  void CountTimeAway() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Samples that fell due since its worker was lost.
  void CountLost(Source& source) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void OnLost(Source& source, const v1::StreamEnded& lost)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // SealOpen; what fails stays open.
  void TrySealOpen(bool also_rest) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Makes the frame's file durable if it is to be. kNotFound: it is gone or
  // damaged.
  absl::Status Keep(const v1::FrameInfo& frame)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Seals the first `count` open frames.
  absl::Status Seal(size_t count) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void LogState(const Source& source, const v1::StateChanged& state) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void SetState(Source& source, v1::StreamState state)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // True where the state is one in which the worker tries to connect.
  bool Connects(Source& source) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status SealOpen(bool also_rest) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status DropLostFrames(const std::vector<int64_t>& seqs)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status RecoverFrames(const std::vector<StreamStore::BatchRow>& batches)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status DropLostBatch(const StreamStore::BatchRow& batch)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status RecoverBrightest() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  v1::SourceStatus StatusOf(const Source& source) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void FillSources(v1::Stream& stream) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void FillObserved(v1::Stream& stream) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void RemoveFoldersIfDone() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const Options options_;
  const std::string stream_id_;
  const std::string session_id_;
  const std::string spool_dir_;
  const std::string brightest_dir_;
  const bool auto_named_;
  StreamStore& store_;
  BatchSender& sender_;
  Clock& clock_;
  std::atomic<int64_t>& total_spool_bytes_;

  mutable absl::Mutex mu_;
  // What was asked for, and the camera's condition.
  v1::Stream stream_ ABSL_GUARDED_BY(mu_);
  Source main_ ABSL_GUARDED_BY(mu_);
  Source detect_ ABSL_GUARDED_BY(mu_);
  std::string host_ip_ ABSL_GUARDED_BY(mu_);
  int64_t batch_seq_ ABSL_GUARDED_BY(mu_);
  // As its accounting has it.
  int64_t captured_ ABSL_GUARDED_BY(mu_);
  absl::Time last_activity_ ABSL_GUARDED_BY(mu_);
  // On the steady clock, where expires_at is the same on the host's.
  absl::Duration lease_end_ ABSL_GUARDED_BY(mu_);
  std::string stop_reason_ ABSL_GUARDED_BY(mu_);
  std::vector<v1::FrameInfo> open_ ABSL_GUARDED_BY(mu_);
  BrightnessRanker ranker_ ABSL_GUARDED_BY(mu_);
  ConditionJudge judge_ ABSL_GUARDED_BY(mu_);
  std::optional<v1::FrameInfo> latest_ ABSL_GUARDED_BY(mu_);
  std::optional<v1::GetLatestFrameResponse> acknowledged_ ABSL_GUARDED_BY(mu_);
  std::optional<v1::Grid> grid_ ABSL_GUARDED_BY(mu_);
  int64_t spool_bytes_ ABSL_GUARDED_BY(mu_) = 0;
  // Sealed and not settled, by number: when it was sealed, on the steady clock.
  std::map<int64_t, absl::Duration> pending_ ABSL_GUARDED_BY(mu_);
  std::string sending_reason_ ABSL_GUARDED_BY(mu_);
  // Missed samples by reason that could not be counted yet since the store
  // failed.
  std::map<std::string, int64_t> uncounted_ ABSL_GUARDED_BY(mu_);
  bool folders_missing_ ABSL_GUARDED_BY(mu_) = false;
  // Frames up to this number are of an earlier run of the service.
  int64_t recovered_seq_ ABSL_GUARDED_BY(mu_) = 0;
  bool discarded_ ABSL_GUARDED_BY(mu_) = false;
  std::string paused_for_ ABSL_GUARDED_BY(mu_);
  int widened_ ABSL_GUARDED_BY(mu_) = 1;
  // Of this run of the service.
  int64_t masks_version_ ABSL_GUARDED_BY(mu_) = 0;

  // Wakes AwaitEnded. Not an absl::Mutex: its timeouts go by the wall clock.
  std::mutex ended_mu_;
  std::condition_variable ended_changed_;
  // As Source::ended. Guarded by ended_mu_.
  bool main_ended_told_ = true;
  bool detect_ended_told_ = true;
};

}  // namespace camherd::capture
