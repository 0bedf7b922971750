// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "camherd/v1/detection.pb.h"
#include "camherd/v1/record.pb.h"

namespace camherd::aggregator {

// Which picture of a record is shown: the evidence of `complaint_type`; where
// that is empty the first evidence, else the first frame. `first_frame` wins.
// kNotFound, naming the type: the record has no such evidence.
absl::StatusOr<int> ChoosePicture(const v1::Record& record,
                                  const std::string& complaint_type,
                                  bool first_frame);

// The detections of all sections in one frame.
std::vector<v1::Detection> DetectionsOf(const v1::Record& record,
                                        int frame_index);

// Draws boxes with class and score into a JPEG and scales it to `width`
// (0: as it is). Without both the bytes are answered as they are.
// kInvalidArgument: no JPEG, or larger than 8K before or after.
//
// Thread-safe.
absl::StatusOr<std::string> DrawRecordPicture(
    absl::string_view jpeg, const std::vector<v1::Detection>& detections,
    int width);

}  // namespace camherd::aggregator
