// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/str_cat.h"
#include "camherd/v1/aggregator_service.pb.h"
#include "services/aggregator/record_store.h"
#include "services/common/file.h"
#include "tests/unit/aggregator/aggregator_testing.h"

// The batches of the power-cut test, the same in the program that is cut off
// and in the one that looks at what is left.
namespace camherd::aggregator::testing {

inline constexpr int kPowerCutBatches = 30;
inline constexpr int kPowerCutCameras = 3;
// Batches up to these are removed, in this order. Two have the same time.
inline constexpr int64_t kPowerCutRemovals[] = {4, 10, 12};

// Some kilobytes, so that a write has many sectors.
inline std::string PowerCutPicture(int64_t batch, int frame) {
  std::string jpeg;
  while (jpeg.size() < 3000 + static_cast<size_t>(batch) * 131) {
    absl::StrAppend(&jpeg, "picture of batch ", batch, ", frame ", frame, ", ",
                    jpeg.size(), "; ");
  }
  return jpeg;
}

// Batch 1..kPowerCutBatches, of two sessions in turn.
inline NewRecord PowerCutBatch(int64_t batch) {
  v1::AddBatchResultHeader header =
      MakeHeader(absl::StrCat("session-", batch % 2), (batch + 1) / 2);
  v1::BatchManifest& manifest = *header.mutable_manifest();
  for (int i = 0; i < manifest.frames_size(); ++i) {
    const std::string jpeg = PowerCutPicture(batch, i);
    manifest.mutable_frames(i)->set_sha256(Sha256(jpeg));
    manifest.mutable_frames(i)->set_size_bytes(
        static_cast<int64_t>(jpeg.size()));
  }
  header.set_manifest_sha256(Sha256(manifest.SerializeAsString()));
  NewRecord record = MakeNewRecord(header);
  for (Picture& picture : record.pictures) {
    picture.jpeg = PowerCutPicture(batch, picture.frame_index);
  }
  return record;
}

// The batch that a record was made of.
inline int64_t PowerCutBatchOf(const std::string& session_id,
                               int64_t batch_seq) {
  return 2 * batch_seq - (session_id == "session-1" ? 1 : 0);
}

}  // namespace camherd::aggregator::testing
