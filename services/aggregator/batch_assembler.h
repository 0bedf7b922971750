// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "camherd/v1/aggregator_service.pb.h"
#include "services/aggregator/record_store.h"

namespace camherd::aggregator {

// A batch as it came, whole and checked.
struct CompleteBatch {
  v1::AddBatchResultHeader header;
  std::vector<Picture> pictures;  // In order of frame_index.
};

// Puts the messages of one AddBatchResult together: the header first and once,
// then pictures, each at most once, each with the length and the SHA-256 the
// manifest gives. The first frame's picture and that of each evidence must be
// there.
//
// Errors: kInvalidArgument, naming field and value, for what is not as it must
// be; kDataLoss for a picture that is not the manifest's; kResourceExhausted
// for more than `max_bytes`.
//
// Not thread-safe; one call owns it.
class BatchAssembler {
 public:
  explicit BatchAssembler(size_t max_bytes) : max_bytes_(max_bytes) {}

  absl::Status Add(v1::AddBatchResultRequest&& request);

  // REQUIRES: all Add were OK. Ends the assembly.
  absl::StatusOr<CompleteBatch> Finish();

  // Bytes of pictures held.
  size_t bytes() const { return bytes_; }

 private:
  absl::Status AddPicture(v1::BatchPicture&& picture);

  const size_t max_bytes_;
  size_t bytes_ = 0;
  bool has_header_ = false;
  CompleteBatch batch_;
};

}  // namespace camherd::aggregator
