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
  std::string manifest_sha256;  // 32 bytes.
  std::vector<Picture> pictures;
};

struct AppendResult {
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

// A grid and its number in the store.
struct StoredGrid {
  v1::Grid grid;
  int64_t grid_id = 0;
};

// What the aggregator keeps: records with their pictures, grids, cameras and
// the cursor of predictions.json. It decides whether a batch is new; it leaves
// enrichment and the lines to others.
//
// (session_id, batch_seq) names a batch. The name and the manifest's digest
// are kept for longer than the record itself, so that retention never makes a
// batch that was recorded look new.
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
  // kAlreadyExists. kResourceExhausted also when too many wait for commit.
  virtual void Append(NewRecord record, AppendDone done) = 0;

  // kNotFound, naming the id.
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
  // kAlreadyExists: FindGrid would have found one.
  virtual absl::Status AddGrid(const v1::Grid& grid,
                               const std::string& frames_key) = 0;
  // Newest first, those with an id below `before`; empty `process_name`: all.
  virtual absl::StatusOr<std::vector<StoredGrid>> ListGrids(
      const std::string& process_name, int64_t before, int limit) = 0;
};

}  // namespace camherd::aggregator
