// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "services/aggregator/record_store.h"

namespace camherd::aggregator {

// An object of a predictions.json, read back.
struct ImportedLine {
  // Without digest of a manifest; `record.imported` is set. Its pictures are
  // that of frame_base64, or none.
  NewRecord record;
  // meta.line and meta.lines: the record has one object a frame.
  int line = 1;
  int lines = 1;
};

// Reads an object as prediction_record.h draws it. With our `meta` the record
// has the name, times and frames it had. Without, as document A wrote it:
//
//   name   session import-<digest of the content, whatever its white space>,
//          batch 1
//   time   Date and timestamp in `timezone`
//   frame  one, that of frame_base64; all detections are of it
//
// Errors: kDataLoss, it is not UTF-8 or not JSON; kInvalidArgument, naming
// field and value.
absl::StatusOr<ImportedLine> ParseImportedLine(absl::string_view text,
                                               absl::TimeZone timezone);

}  // namespace camherd::aggregator
