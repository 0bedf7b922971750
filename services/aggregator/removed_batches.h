// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "services/common/sqlite_db.h"

namespace camherd::aggregator {

// What stays of batches whose records were removed, for ever: eight bytes each
// in the table removed_batches, so that one that comes again is known, and one
// of another manifest under its name too.

struct RemovedBatch {
  std::string session_id;
  int64_t batch_seq = 0;
  std::string digest;  // Of the manifest, 32 bytes; empty: it was imported.
};

// Adds to those removed. REQUIRES: a transaction is open.
absl::Status AddRemovedBatches(SqliteDb& db,
                               const std::vector<RemovedBatch>& batches);

// True if the batch is one of them; kAlreadyExists: with another digest.
absl::StatusOr<bool> IsRemovedBatch(SqliteDb& db, const RemovedBatch& batch);

}  // namespace camherd::aggregator
