// SPDX-License-Identifier: Apache-2.0
#pragma once

// The tables of records.db, as the migrations that make them. A released one
// is never changed: what is new goes into the next.
//
//   records     one row a batch; `record` is a camherd.v1.Record without id
//               and recorded_at
//   detections  which class was seen in which record
//   complaints  which complaint is 1 in which record
//   pictures    files below <data>
//   batches     names and digests of all batches ever recorded; outlives
//               records
//   sessions    high-water mark of each session; outlives records
//   cursor      how far predictions.json is written; one row
//   cameras     camherd.v1.Camera and its last row in the CSV
//   grids       camherd.v1.Grid
//   usage       bytes of pictures and grids there are, in blocks of 4 KiB as
//               the disk counts them; one row, kept by triggers
//   removed_batches  names of batches whose records were removed, 256 a row;
//               see removed_batches.h
//   doomed_files  files below <data> whose rows were removed and that may still
//               be there
//
// Times are microseconds since 1970, UTC.
namespace camherd::aggregator {

inline constexpr const char* kMigrations[] = {
    // Version 1.
    R"sql(
CREATE TABLE records(
  record_id INTEGER PRIMARY KEY AUTOINCREMENT,
  session_id TEXT NOT NULL,
  batch_seq INTEGER NOT NULL,
  camera_id TEXT NOT NULL,
  captured_us INTEGER NOT NULL,
  recorded_us INTEGER NOT NULL,
  record BLOB NOT NULL);
CREATE INDEX records_time ON records(captured_us, record_id);
CREATE INDEX records_camera ON records(camera_id, captured_us, record_id);
CREATE INDEX records_session ON records(session_id, captured_us, record_id);
CREATE TABLE detections(
  class_name TEXT NOT NULL,
  captured_us INTEGER NOT NULL,
  record_id INTEGER NOT NULL REFERENCES records ON DELETE CASCADE,
  camera_id TEXT NOT NULL,
  complaint INTEGER NOT NULL,
  detections INTEGER NOT NULL,
  PRIMARY KEY(class_name, captured_us, record_id)) WITHOUT ROWID;
CREATE INDEX detections_camera
  ON detections(class_name, camera_id, captured_us, record_id);
CREATE INDEX detections_record ON detections(record_id);
CREATE TABLE complaints(
  complaint_type TEXT NOT NULL,
  captured_us INTEGER NOT NULL,
  record_id INTEGER NOT NULL REFERENCES records ON DELETE CASCADE,
  camera_id TEXT NOT NULL,
  PRIMARY KEY(complaint_type, captured_us, record_id)) WITHOUT ROWID;
CREATE INDEX complaints_camera
  ON complaints(complaint_type, camera_id, captured_us, record_id);
CREATE INDEX complaints_record ON complaints(record_id);
CREATE TABLE pictures(
  record_id INTEGER NOT NULL REFERENCES records ON DELETE CASCADE,
  frame_index INTEGER NOT NULL,
  path TEXT NOT NULL,
  size_bytes INTEGER NOT NULL,
  PRIMARY KEY(record_id, frame_index)) WITHOUT ROWID;
CREATE TABLE batches(
  session_id TEXT NOT NULL,
  batch_seq INTEGER NOT NULL,
  digest BLOB NOT NULL,
  record_id INTEGER NOT NULL,
  PRIMARY KEY(session_id, batch_seq)) WITHOUT ROWID;
CREATE TABLE sessions(
  session_id TEXT PRIMARY KEY,
  stream_id TEXT NOT NULL,
  high_water INTEGER NOT NULL,
  epoch INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE cursor(
  id INTEGER PRIMARY KEY CHECK(id = 1),
  generation INTEGER NOT NULL,
  offset INTEGER NOT NULL,
  last_record_id INTEGER NOT NULL);
CREATE TABLE cameras(
  camera_id TEXT PRIMARY KEY,
  camera BLOB NOT NULL,
  csv_row TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE grids(
  grid_id INTEGER PRIMARY KEY AUTOINCREMENT,
  session_id TEXT NOT NULL,
  frames_key BLOB NOT NULL,
  process_name TEXT NOT NULL,
  grid BLOB NOT NULL,
  UNIQUE(session_id, frames_key));
CREATE INDEX grids_process ON grids(process_name, grid_id);
)sql",
    // Version 2.
    R"sql(
ALTER TABLE cursor ADD COLUMN rotated INTEGER NOT NULL DEFAULT 0;
ALTER TABLE cursor ADD COLUMN newest_us INTEGER NOT NULL DEFAULT 0;
ALTER TABLE grids ADD COLUMN size_bytes INTEGER NOT NULL DEFAULT 0;
CREATE TABLE removed_batches(
  session_id TEXT NOT NULL,
  row INTEGER NOT NULL,
  digests BLOB NOT NULL,
  PRIMARY KEY(session_id, row)) WITHOUT ROWID;
CREATE TABLE doomed_files(path TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE usage(
  id INTEGER PRIMARY KEY CHECK(id = 1),
  picture_bytes INTEGER NOT NULL,
  grid_bytes INTEGER NOT NULL);
INSERT INTO usage SELECT 1, coalesce(sum((size_bytes + 4095) / 4096 * 4096), 0),
  0 FROM pictures;
CREATE TRIGGER pictures_added AFTER INSERT ON pictures BEGIN
  UPDATE usage SET
    picture_bytes = picture_bytes + (NEW.size_bytes + 4095) / 4096 * 4096;
END;
CREATE TRIGGER pictures_removed AFTER DELETE ON pictures BEGIN
  UPDATE usage SET
    picture_bytes = picture_bytes - (OLD.size_bytes + 4095) / 4096 * 4096;
END;
CREATE TRIGGER grids_added AFTER INSERT ON grids BEGIN
  UPDATE usage SET
    grid_bytes = grid_bytes + (NEW.size_bytes + 4095) / 4096 * 4096;
END;
CREATE TRIGGER grids_removed AFTER DELETE ON grids BEGIN
  UPDATE usage SET
    grid_bytes = grid_bytes - (OLD.size_bytes + 4095) / 4096 * 4096;
END;
)sql",
};

}  // namespace camherd::aggregator
