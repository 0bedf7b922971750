// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "camherd/v1/aggregator_service.pb.h"

namespace camherd::inference {

// Where results go: the aggregator, or a fake.
//
// Thread-safe.
class ResultSink {
 public:
  // A picture the record needs; the bytes are the caller's.
  struct PictureRef {
    int frame_index;
    absl::string_view jpeg;
  };

  virtual ~ResultSink() = default;

  // OK, or kUnavailable while it is known to be away. Never blocks.
  virtual absl::Status CheckAvailable() = 0;

  // Blocks until the record is durable, within the sink's own deadline. Any
  // status of the aggregator.
  virtual absl::StatusOr<camherd::v1::AddBatchResultResponse> AddBatchResult(
      const camherd::v1::AddBatchResultHeader& header,
      const std::vector<PictureRef>& pictures) = 0;
};

}  // namespace camherd::inference
