// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "camherd/v1/aggregator_service.pb.h"
#include "services/aggregator/prediction_record.h"
#include "services/aggregator/record_store.h"

namespace camherd::aggregator {

// A file of the records that fit a filter, in order of commit, up to the last
// one there was at the beginning. It is made piece by piece, so that a million
// records take no more memory than a few:
//
//   jsonl    the lines of predictions.json
//   array    the same objects as one JSON array
//   csv      a line a record, UTF-8, RFC 4180, for spreadsheets: text that one
//            would take for a formula begins with '
//   geojson  a FeatureCollection (RFC 7946), a point a record, without pictures
//
// A picture that cannot be read is null in its line, and counted; a record that
// is removed while it is read is left out.
//
// Not thread-safe.
class RecordExport {
 public:
  struct Options {
    v1::ExportFormat format = v1::EXPORT_FORMAT_JSONL;
    RecordFilter filter = {};
    LineOptions line;
  };
  // Most that a piece may have.
  static constexpr size_t kMaxPieceBytes = 64 << 10;

  // kInvalidArgument: no such format. `store` must outlive it.
  static absl::StatusOr<RecordExport> Create(const Options& options,
                                             RecordStore& store);

  // The next piece; empty at the end.
  absl::StatusOr<std::string> Next();

  int64_t records() const { return records_; }
  int64_t pictures_missing() const { return pictures_missing_; }

 private:
  RecordExport(const Options& options, RecordStore& store);

  absl::Status ReadMore();
  void Append(const StoredRecord& stored);
  // False: the record has been removed.
  bool AppendLines(const StoredRecord& stored);
  void AppendCsv(const StoredRecord& stored);
  void AppendFeature(const StoredRecord& stored);

  Options options_;
  RecordStore* store_;
  int64_t last_ = 0;  // The last record that belongs to it.
  int64_t reached_ = 0;
  bool done_ = false;
  std::string buffer_;
  size_t taken_ = 0;  // Of buffer_.
  bool any_line_ = false;
  int64_t records_ = 0;
  int64_t pictures_missing_ = 0;
};

// `jsonl`, `array`, `csv`, `geojson`. kInvalidArgument naming `format`.
absl::StatusOr<v1::ExportFormat> ParseExportFormat(absl::string_view name);

}  // namespace camherd::aggregator
