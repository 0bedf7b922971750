// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"

// Every path the aggregator writes:
//
//   <data>/aggregator.lock                      flock: one aggregator a folder
//   <data>/aggregator.probe                     to see that files can be made
//   <data>/records.db                           records, cameras, grids, cursor
//   <data>/records/<yyyy-mm-dd>/<hh>/<name>.jpg pictures of records, UTC
//   <data>/records/tmp/                         pictures being written
//   <data>/predictions.json                     the lines
//   <data>/predictions-<n>.json                 earlier ones, rotated away
//   <data>/predictions.json.torn-<time>         a torn tail, moved aside
//   <data>/predictions.json.foreign-<time>      what was there and no lines
//   <data>/images/<process_name>_<time>.jpg     grids
//
// <time> is UTC, 20260801T101500.123Z.
namespace camherd::aggregator {

inline std::string LockFile(absl::string_view data_dir) {
  return absl::StrCat(data_dir, "/aggregator.lock");
}

inline std::string ProbeFile(absl::string_view data_dir) {
  return absl::StrCat(data_dir, "/aggregator.probe");
}

inline std::string DatabaseFile(absl::string_view data_dir) {
  return absl::StrCat(data_dir, "/records.db");
}

inline std::string RecordsDir(absl::string_view data_dir) {
  return absl::StrCat(data_dir, "/records");
}

inline std::string PictureTempDir(absl::string_view data_dir) {
  return absl::StrCat(data_dir, "/records/tmp");
}

// Folder of a record's pictures below <data>.
inline std::string PictureFolder(absl::Time captured_at) {
  return absl::StrCat("records/", absl::FormatTime("%Y-%m-%d/%H", captured_at,
                                                   absl::UTCTimeZone()));
}

// Name of a picture in its folder. It holds the start of the picture's SHA-256
// (32 bytes), so that two batches that claim one key never share a file.
inline std::string PictureName(absl::string_view session_id, int64_t batch_seq,
                               int32_t frame_index, absl::string_view sha256) {
  return absl::StrCat(session_id, "_", batch_seq, "_", frame_index, "_",
                      absl::BytesToHexString(sha256.substr(0, 4)), ".jpg");
}

inline std::string PredictionsPath(absl::string_view data_dir) {
  return absl::StrCat(data_dir, "/predictions.json");
}

// The `number`th file that was rotated away from `path`.
inline std::string RotatedFile(absl::string_view path, int64_t number) {
  return absl::StrCat(absl::StripSuffix(path, ".json"), "-", number, ".json");
}

inline std::string FileTime(absl::Time time) {
  return absl::FormatTime("%Y%m%dT%H%M%E3SZ", time, absl::UTCTimeZone());
}

inline std::string TornFile(absl::string_view path, absl::Time now) {
  return absl::StrCat(path, ".torn-", FileTime(now));
}

inline std::string ForeignFile(absl::string_view path, absl::Time now) {
  return absl::StrCat(path, ".foreign-", FileTime(now));
}

inline std::string ImagesDir(absl::string_view data_dir) {
  return absl::StrCat(data_dir, "/images");
}

// A grid's file below <data>.
inline std::string GridFile(absl::string_view file_name) {
  return absl::StrCat("images/", file_name);
}

inline std::string GridName(absl::string_view process_name, absl::Time now) {
  return absl::StrCat(process_name, "_", FileTime(now), ".jpg");
}

inline std::string DefaultCameraCsv(absl::string_view data_dir) {
  return absl::StrCat(data_dir, "/camera_data.csv");
}

}  // namespace camherd::aggregator
