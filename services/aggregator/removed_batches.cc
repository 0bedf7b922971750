// SPDX-License-Identifier: Apache-2.0
#include "services/aggregator/removed_batches.h"

#include <algorithm>
#include <cstddef>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "services/common/status_macros.h"

// A row holds 256 numbers of a session, batch_seq = row * 256 + i:
//
//   digests  8 bytes for each i from 0 up to the last one removed: the first 8
//            of the manifest's digest, or 8 zeros: not removed
namespace camherd::aggregator {
namespace {

constexpr int64_t kPerRow = 256;
constexpr size_t kMarkBytes = 8;

int64_t RowOf(int64_t batch_seq) { return batch_seq / kPerRow; }

size_t OffsetOf(int64_t batch_seq) {
  return static_cast<size_t>(batch_seq % kPerRow) * kMarkBytes;
}

std::string NotRemoved() { return std::string(kMarkBytes, '\0'); }

std::string MarkOf(absl::string_view digest) {
  std::string mark(digest.substr(0, kMarkBytes));
  mark.resize(kMarkBytes, '\0');
  // Never that of one which is not removed.
  if (mark == NotRemoved()) mark.back() = '\1';
  return mark;
}

absl::StatusOr<std::string> ReadRow(SqliteDb& db, const std::string& session_id,
                                    int64_t row) {
  std::string digests;
  CAMHERD_RETURN_IF_ERROR(db.Query(
      "SELECT digests FROM removed_batches WHERE session_id=? AND row=?",
      [&](const SqliteDb::Row& found) {
        digests = std::string(found.Bytes(0));
      },
      session_id, row));
  return digests;
}

}  // namespace

absl::Status AddRemovedBatches(SqliteDb& db,
                               const std::vector<RemovedBatch>& batches) {
  std::map<std::pair<std::string, int64_t>, std::vector<const RemovedBatch*>>
      rows;
  for (const RemovedBatch& batch : batches) {
    rows[{batch.session_id, RowOf(batch.batch_seq)}].push_back(&batch);
  }
  for (const auto& [key, added] : rows) {
    CAMHERD_ASSIGN_OR_RETURN(std::string digests,
                             ReadRow(db, key.first, key.second));
    for (const RemovedBatch* batch : added) {
      const size_t offset = OffsetOf(batch->batch_seq);
      digests.resize(std::max(digests.size(), offset + kMarkBytes), '\0');
      digests.replace(offset, kMarkBytes, MarkOf(batch->digest));
    }
    CAMHERD_RETURN_IF_ERROR(
        db.Run("INSERT OR REPLACE INTO removed_batches VALUES(?,?,?)",
               key.first, key.second, SqliteDb::Blob{digests}));
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> IsRemovedBatch(SqliteDb& db, const RemovedBatch& batch) {
  CAMHERD_ASSIGN_OR_RETURN(
      const std::string digests,
      ReadRow(db, batch.session_id, RowOf(batch.batch_seq)));
  const size_t offset = OffsetOf(batch.batch_seq);
  if (digests.size() < offset + kMarkBytes) return false;
  const std::string mark = digests.substr(offset, kMarkBytes);
  if (mark == NotRemoved()) return false;
  // One that was imported has no manifest: its name alone tells.
  if (batch.digest.empty() || mark == MarkOf("") ||
      mark == MarkOf(batch.digest)) {
    return true;
  }
  return absl::AlreadyExistsError(absl::StrCat(
      "batch ", batch.batch_seq, " of session ", batch.session_id,
      " was recorded with another manifest; the record has been removed"));
}

}  // namespace camherd::aggregator
