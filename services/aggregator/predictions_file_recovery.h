// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "services/aggregator/record_store.h"

namespace camherd::aggregator {

// What a line of predictions.json says of itself.
struct PredictionLine {
  bool is_object = false;  // One JSON object, whole.
  int64_t record_id = 0;   // meta.record_id; 0: not a line of ours.
  int64_t line = 0;        // meta.line and meta.lines; 0: the batch's line.
  int64_t lines = 0;
};

PredictionLine InspectLine(absl::string_view text);

struct OpenedPredictions {
  int fd = -1;  // The caller's, O_APPEND.
  // Where to go on: `offset` is the file's size, `last_record_id` the last
  // record it holds.
  PredictionsCursor cursor;
};

// Opens predictions.json, or begins it, so that writing can go on after
// `cursor.last_record_id`. Nothing that is there is ever lost:
//
//   not there        a new file, at the cursor; the next generation. A warning,
//                    unless a file was rotated away that the cursor does not
//                    know: a crash came between
//   as the cursor    lines after the cursor's offset are counted as written
//   torn tail        what follows the last whole line (of a whole record) goes
//                    to <path>.torn-<time>, then is cut off
//   edited           shorter than the cursor or other lines there: warned,
//                    kept, appended to; the next generation
//   foreign          before the first generation: one JSON object a line is
//                    appended to; anything else, such as an array, goes to
//                    <path>.foreign-<time> (or -2 and so on, never in place of
//                    another)
//
// Lines with ids above `last_committed` are of another store and count as
// foreign. The file and its name are synced. Errors: kFailedPrecondition, not
// a regular file; else those of file.h, naming the path.
absl::StatusOr<OpenedPredictions> OpenPredictions(
    const std::string& path, const PredictionsCursor& cursor,
    int64_t last_committed, absl::Time now);

}  // namespace camherd::aggregator
