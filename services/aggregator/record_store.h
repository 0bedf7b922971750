// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "camherd/v1/camera.pb.h"
#include "camherd/v1/record.pb.h"

namespace camherd::aggregator {

// A picture of a batch: its position and its JPEG.
struct Picture {
  int32_t frame_index = 0;
  std::string jpeg;
};

// A record to be stored. `record.record_id` and `record.recorded_at` are the
// store's to set. `record.frames` hold the SHA-256 of each picture.
struct NewRecord {
  v1::Record record;
  std::string manifest_sha256;  // 32 bytes; empty if it is `imported`.
  std::vector<Picture> pictures;
};

struct AppendResult {
  // 0: the record has been removed since.
  int64_t record_id = 0;
  bool already_recorded = false;
};

// A picture kept with a record.
struct StoredPicture {
  int32_t frame_index = 0;
  std::string path;  // Below the data folder.
  int64_t size_bytes = 0;
};

struct StoredRecord {
  v1::Record record;
  std::vector<StoredPicture> pictures;
};

struct RecordFilter {
  std::string camera_id = {};
  // Empty: any.
  std::vector<std::string> camera_ids = {};
  std::string class_name = {};
  std::string complaint_type = {};
  std::string session_id = {};
  // captured_at in [since, until).
  absl::Time since = absl::InfinitePast();
  absl::Time until = absl::InfiniteFuture();
};

// A place in the list of records: the page begins with the first one older.
struct RecordPosition {
  int64_t captured_us = 0;
  int64_t record_id = 0;
};

// How far predictions.json has been written and synced. `generation` counts
// the files begun: 0 means that there has been none.
struct PredictionsCursor {
  int64_t generation = 0;
  int64_t offset = 0;
  int64_t last_record_id = 0;
  // Number of the last file that was rotated away: none is used twice.
  int64_t rotated = 0;
  // captured_at of the newest record in the file; 0: it has none.
  int64_t newest_us = 0;
};

// A camera and the row of the CSV it was last imported from, in canonical
// form; empty: never imported.
struct StoredCamera {
  v1::Camera camera;
  std::string csv_row;
};

// What there is, in bytes as the disk counts them (blocks of 4 KiB).
struct StoreUsage {
  int64_t picture_bytes = 0;
  int64_t grid_bytes = 0;
  // Of the database and its log; pages that are free are not counted, Shrink
  // gives them back.
  int64_t database_bytes = 0;
  // captured_at of the oldest record, rendered_at of the first grid;
  // infinite future: there is none.
  absl::Time oldest_record = absl::InfiniteFuture();
  absl::Time oldest_grid = absl::InfiniteFuture();
};

// One step of retention, small enough that appends beside it do not wait.
struct RemovalStep {
  // Only what is older.
  absl::Time before = absl::InfiniteFuture();
  // Only records with an id up to this.
  int64_t last_record_id = INT64_MAX;
  // Ends with the one that brings it to so many bytes of files.
  int64_t bytes = INT64_MAX;
  int limit = 32;
};

struct RemovedItems {
  int64_t count = 0;
  int64_t bytes = 0;  // Of their files.
};

// A grid and its number in the store.
struct StoredGrid {
  v1::Grid grid;
  int64_t grid_id = 0;
};

// What the aggregator keeps: records with their pictures, grids, cameras and
// the cursor of predictions.json. It decides whether a batch is new; it leaves
// enrichment and the lines to others.
//
// (session_id, batch_seq) names a batch. The name and the start of the
// manifest's digest are kept for ever, longer than the record itself, so that
// retention never makes a batch that was recorded look new.
//
// Errors common to all calls: kResourceExhausted, the disk is full;
// kUnavailable, try again; kDataLoss, the store is damaged. A failed fsync
// ends the process: what the kernel then still holds is unknown, and the next
// start reads what the disk really has.
//
// Thread-safe.
class RecordStore {
 public:
  using AppendDone = std::function<void(absl::StatusOr<AppendResult>)>;

  virtual ~RecordStore() = default;

  // Stores record and pictures; `done` is called once, from a thread of the
  // store or from this call, when the record is durable or has failed. The
  // pictures are written by the calling thread. The same name with the same
  // digest answers the record there is; with another digest
  // kAlreadyExists. Where one of the two was imported, the name alone tells.
  // kResourceExhausted also when too many wait for commit.
  virtual void Append(NewRecord record, AppendDone done) = 0;

  // kNotFound, naming the id and saying whether there was such a record.
  virtual absl::StatusOr<StoredRecord> GetRecord(int64_t record_id) = 0;

  // At most `limit` records that fit, newest capture first (ties: the later
  // commit first), from `after` on.
  virtual absl::StatusOr<std::vector<v1::Record>> ListRecords(
      const RecordFilter& filter, std::optional<RecordPosition> after,
      int limit) = 0;

  // At most `limit` records that fit, with a greater id, in order of commit.
  virtual absl::StatusOr<std::vector<StoredRecord>> RecordsAfter(
      const RecordFilter& filter, int64_t record_id, int limit) = 0;

  // 0 if there has been none.
  virtual int64_t LastRecordId() = 0;

  // The JPEG as it was sent. kNotFound: no such record, the picture is not
  // kept, or its file is gone.
  virtual absl::StatusOr<std::string> ReadPicture(
      const StoredPicture& picture) = 0;

  // Greatest batch_seq seen in the session, 0 for none. Outlives records.
  virtual absl::StatusOr<int64_t> HighWaterMark(
      const std::string& session_id) = 0;

  virtual absl::StatusOr<PredictionsCursor> GetCursor() = 0;
  virtual absl::Status PutCursor(const PredictionsCursor& cursor) = 0;

  virtual absl::StatusOr<std::vector<StoredCamera>> LoadCameras() = 0;
  // All or none.
  virtual absl::Status PutCameras(const std::vector<StoredCamera>& cameras) = 0;

  // The grid of that session made of those frames, if there is one.
  virtual absl::StatusOr<std::optional<v1::Grid>> FindGrid(
      const std::string& session_id, const std::string& frames_key) = 0;
  // `size_bytes` of its file. kAlreadyExists: FindGrid would have found one.
  virtual absl::Status AddGrid(const v1::Grid& grid,
                               const std::string& frames_key,
                               int64_t size_bytes) = 0;
  // Newest first, those with an id below `before`; empty `process_name`: all.
  virtual absl::StatusOr<std::vector<StoredGrid>> ListGrids(
      const std::string& process_name, int64_t before, int limit) = 0;

  virtual absl::StatusOr<StoreUsage> GetUsage() = 0;
  // Removes records, oldest capture first, with their pictures: the rows in
  // one commit, then the files. A crash between leaves files that the next
  // start removes. Calls one at a time.
  virtual absl::StatusOr<RemovedItems> RemoveRecords(
      const RemovalStep& step) = 0;
  // The same for grids, in the order they were made.
  virtual absl::StatusOr<RemovedItems> RemoveGrids(const RemovalStep& step) = 0;
  // Gives a few free pages of the database back to the disk, if a sixteenth of
  // them is free. False: there is nothing to do.
  virtual absl::StatusOr<bool> Shrink() = 0;
};

}  // namespace camherd::aggregator
