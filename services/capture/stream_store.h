// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "camherd/v1/aggregator_service.pb.h"
#include "camherd/v1/capture_service.pb.h"
#include "camherd/v1/frame.pb.h"
#include "camherd/v1/stream.pb.h"

namespace camherd::capture {

// Name of a sealed batch.
struct BatchKey {
  std::string session_id;
  int64_t batch_seq = 0;

  friend bool operator==(const BatchKey& a, const BatchKey& b) {
    return a.session_id == b.session_id && a.batch_seq == b.batch_seq;
  }
  friend bool operator<(const BatchKey& a, const BatchKey& b) {
    return a.session_id != b.session_id ? a.session_id < b.session_id
                                        : a.batch_seq < b.batch_seq;
  }
};

// The truth about streams, sessions and every frame: capture.db. What should
// run, what each session has counted, which frames lie in the spool, which of
// them are sealed into which batch.
//
// Each method that changes something is one transaction, which changes the
// counters together with the rows they count: the identities of Accounting
// hold in every snapshot and after a crash at any point. Files are the
// callers' business, in this order: a file is in place before the row that
// names it is committed, and is removed only after the row is gone.
//
// Commits survive a crash of the process. Those of SealBatch, BatchRecorded
// and of streams are synced, so that they survive a loss of power as well
// (Options::sync); the others may be rolled back by it, together with their
// counters.
//
// Errors: kResourceExhausted (disk full), kUnavailable (I/O, busy),
// kDataLoss (not a database), kNotFound where a row is missing, kInternal.
//
// Thread-safe: one connection under one mutex.
class StreamStore {
 public:
  struct Options {
    // Absolute folder; exists.
    std::string data_dir;
    // False: no commit is synced, only what keeps the file readable after a
    // loss of power.
    bool sync = true;
  };

  // A stream as it is stored.
  struct StoredStream {
    // What was asked for, with masked URL, and what is kept of the observed:
    // ids, names, times, connects, disconnects.
    v1::Stream stream;
    // With credentials; that of the second source empty where there is none.
    std::string url;
    std::string detect_url = {};
    // True: the caller gave no camera_id, the name comes from the URL.
    bool auto_named = false;
    // Why it stopped by itself; empty: it runs, or somebody stopped it.
    std::string stop_reason = {};
    // Local address towards the camera; empty: never connected.
    std::string host_ip;
    // High-water marks of the session; the second source has numbers and
    // connections of its own.
    int64_t frame_seq = 0;
    int64_t detect_frame_seq = 0;
    int64_t detect_connects = 0;
    int64_t detect_disconnects = 0;
    int64_t batch_seq = 0;
    // Of its accounting.
    int64_t captured = 0;
    // Up to when due samples have been counted.
    absl::Time last_activity;
    std::optional<v1::FrameInfo> latest;
    // Newest frame of a recorded batch and its boxes; no picture in it.
    std::optional<v1::GetLatestFrameResponse> acknowledged;
    // The answer of the first StopStream; no picture in it.
    std::optional<v1::Grid> grid;
  };

  // A frame whose file is in place.
  struct NewFrame {
    std::string session_id;
    v1::FrameInfo info;
    // Of the second source, which is no stream's latest.
    bool detect = false;
    // Counted as ranked only, not spooled.
    bool ranked_only = false;
    // It is among the nine now, in place of `displaced_seq` (0: nobody).
    bool enters_brightest = false;
    int64_t displaced_seq = 0;
  };

  struct FrameRow {
    v1::FrameInfo info;
    // 0: not sealed yet.
    int64_t batch_seq = 0;
  };

  struct NewBatch {
    BatchKey key;
    absl::Time sealed_at;
    // Serialized BatchManifest, and its SHA-256 (32 bytes).
    std::string manifest;
    std::string manifest_sha256;
    std::vector<int64_t> frame_seqs;
    int64_t bytes = 0;
  };

  struct BatchRow {
    BatchKey key;
    // As SealBatch answered.
    absl::Time sealed_at;
    // True: it was sent whole and no answer says that it was not recorded.
    bool fate_unknown = false;
    int attempts = 0;
    int64_t frames = 0;
    int64_t bytes = 0;
  };

  // Opens, creates or migrates `<data>/capture.db` (mode 0600) and takes
  // `<data>/capture.lock`. kFailedPrecondition: another service holds the
  // folder, or the file is of a newer version than this program knows.
  static absl::StatusOr<std::unique_ptr<StreamStore>> Open(
      const Options& options);
  ~StreamStore();

  // Whether it can be written: OK if the last change was, or, where that failed
  // for the disk or the file, if it can be now. Else why not.
  absl::Status TryWrite();

  // In order of their start.
  absl::StatusOr<std::vector<StoredStream>> LoadStreams();
  absl::Status InsertStream(const StoredStream& stream);
  // Replaces what was asked for (not counters or marks).
  absl::Status UpdateStream(const v1::Stream& stream, const std::string& url,
                            const std::string& detect_url,
                            const std::string& stop_reason = "");
  // Of the second source where `detect`, which keeps no address.
  absl::Status SaveConnection(const std::string& session_id, bool detect,
                              const std::string& host_ip, int64_t connects,
                              int64_t disconnects);
  absl::Status SetGrid(const std::string& session_id, const v1::Grid& grid);
  // Forgets the stream with all its rows; what was spooled is dropped for
  // "deleted", and its counters go on in Totals.
  absl::Status RemoveStream(const std::string& stream_id);

  // due + 1, captured + 1, and spooled or ranked_only + 1.
  absl::Status AddFrame(const NewFrame& frame, absl::Time now);
  // due and missed{reason} + count.
  absl::Status AddMissed(const std::string& session_id,
                         const std::string& reason, int64_t count,
                         absl::Time now);
  absl::StatusOr<std::vector<FrameRow>> ListFrames(
      const std::string& session_id);
  // Frames that are in no batch become dropped{reason}.
  absl::Status DropFrames(const std::string& session_id,
                          const std::vector<int64_t>& frame_seqs,
                          const std::string& reason);
  absl::StatusOr<std::vector<v1::FrameInfo>> ListBrightest(
      const std::string& session_id);
  absl::Status RemoveBrightest(const std::string& session_id,
                               int64_t frame_seq);

  // Answers its place in the order of sealing: `sealed_at`, or, where the
  // host's clock was set back, just after the last of those there are. So the
  // newest is not taken for the oldest.
  absl::StatusOr<absl::Time> SealBatch(const NewBatch& batch);
  // Oldest first.
  absl::StatusOr<std::vector<BatchRow>> ListBatches();
  // Oldest sealed batches whose fate is known; of all sessions if `session_id`
  // is empty.
  absl::StatusOr<std::vector<BatchRow>> OldestDroppable(
      const std::string& session_id, int limit);
  absl::StatusOr<NewBatch> GetBatch(const BatchKey& key);
  // Counts an attempt when `unknown` is set.
  absl::Status SetFateUnknown(const BatchKey& key, bool unknown);
  // Its frames become recorded; `acknowledged`, if any, is kept if it is newer
  // than the one there.
  absl::Status BatchRecorded(
      const BatchKey& key,
      const std::optional<v1::GetLatestFrameResponse>& acknowledged);
  // Its frames become dropped{reason}.
  absl::Status BatchDropped(const BatchKey& key, const std::string& reason);

  // The copy of what the aggregator knows of its cameras (CameraBook), of which
  // there is one; std::nullopt: none yet.
  absl::StatusOr<std::optional<v1::ListCamerasResponse>> LoadCameras();
  absl::Status SaveCameras(const v1::ListCamerasResponse& cameras);

  // A snapshot; zero for an unknown session.
  absl::StatusOr<v1::Accounting> GetAccounting(const std::string& session_id);
  // One snapshot of all: by session id, and under "" what forgotten sessions
  // had counted.
  absl::StatusOr<std::map<std::string, v1::Accounting>> AllAccounting();
  // Bytes of the frames in the spool, of a session or of all ("").
  absl::StatusOr<int64_t> SpooledBytes(const std::string& session_id);

 private:
  class Impl;
  explicit StreamStore(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace camherd::capture
