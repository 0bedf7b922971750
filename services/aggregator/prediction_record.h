// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "camherd/v1/aggregator_service.pb.h"
#include "camherd/v1/camera.pb.h"
#include "camherd/v1/record.pb.h"
#include "services/aggregator/record_store.h"

// What a record says: made from a batch's manifest, the results of its models
// and the camera's place, and written as a line of predictions.json.
//
// The line is document A's object, then `meta`; one line, Python's separators:
//
//   {"basic": {"camID": "CAM001", "Latitude": 26.4499, "Longitude": 80.3319,
//              "Date": "08/10/2025", "timestamp": "16:45:10",
//              "IP": "192.168.1.101",
//              "complaint_type": {"stray_animal": 1, "pothole": 0},
//              "frame_base64": "..."},
//    "stray_animal": {"detections": [{"class": "dog", "confidence": 0.89,
//                                     "box": [120, 240, 180, 300]}]},
//    "pothole": null,
//    "meta": {"record_id": 1, "stream_id": ..., "session_id": ...,
//             "process_name": ..., "batch_seq": 1, "trace_id": ...,
//             "captured_at": ...,
//             "last_captured_at": ..., "recorded_at": ..., "node_id": ...,
//             "epoch": 0,
//             "accounting": {"due": 10, "missed": 0},
//             "frames": [{"frame_index": 0, "frame_seq": 1, "captured_at": ...,
//                         "width": 1920, "height": 1080, "mean_luma": 91.2,
//                         "sha256": ...}],
//             "models": {"animals": {"outcome": "ok", "reason": "",
//                        "engine": "venv", "device": "cpu",
//                        "weights_sha256": ..., "inference_seconds": 0.41,
//                        "undecodable_frames": []}},
//             "detection_frames": {"stray_animal": [3]},
//             "evidence": {"stray_animal": {"frame_index": 3,
//                          "confidence": 0.89, "picture": "records/..."}}}}
//
// Further models add a section and a key under complaint_type. With one object
// per frame, `meta` begins with "frame_index", "line" (from 1) and "lines",
// the lines of this record.
namespace camherd::aggregator {

// kInvalidArgument naming field and value unless a record can be made of the
// header: ids, 1..64 frames with time and SHA-256, a result per model with
// outcome, detections within the batch.
absl::Status CheckBatchHeader(const v1::AddBatchResultHeader& header);

// REQUIRES: CheckBatchHeader is OK. `camera` absent: the place is not known.
// Leaves record_id and recorded_at to the store.
v1::Record BuildRecord(const v1::AddBatchResultHeader& header,
                       const std::optional<v1::Camera>& camera);

struct LineOptions {
  // Of Date and timestamp.
  absl::TimeZone timezone;
  // One object per frame that has a detection.
  bool per_frame = false;
};

// Gives the JPEG of a picture that is kept.
using PictureReader =
    std::function<absl::StatusOr<std::string>(const StoredPicture&)>;

// Appends the record's lines, each ended by a newline: one, or with
// `per_frame` none or more. A picture that cannot be read is null; the
// function then returns its error after appending all the same.
absl::Status AppendPredictionLines(const StoredRecord& stored,
                                   const LineOptions& options,
                                   const PictureReader& read_picture,
                                   std::string& out);

}  // namespace camherd::aggregator
