// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace prometheus {
class Registry;
}  // namespace prometheus

namespace camherd::aggregator {

// What retention removes, and why.
enum class RemovedKind { kRecord, kPredictions, kGrid };
enum class RemovalReason { kAge, kBytes };

// The aggregator's metrics, camherd_aggregator_*, behind verbs.
//
// Thread-safe.
class AggregatorMetrics {
 public:
  // The registry outlives the metrics, since both live in main.
  explicit AggregatorMetrics(std::shared_ptr<prometheus::Registry> registry);
  ~AggregatorMetrics();

  // A batch became a record of `bytes` of pictures, `took` from its last
  // message to its commit.
  void BatchRecorded(size_t bytes, absl::Duration took);
  // A batch that was recorded before came again.
  void BatchRepeated();
  // A batch was answered with that code; conflicts are ALREADY_EXISTS.
  void BatchRefused(absl::StatusCode code);
  void GroupCommitted(size_t records);
  // A record of a file was added.
  void RecordImported();

  void LinesWritten(int64_t lines, int64_t bytes);
  // predictions.json could not be written; it is tried again.
  void LineWriteFailed();
  // Records committed that are no line yet.
  void SetLinesBehind(int64_t records);

  void GridRendered(absl::Duration took);
  void SetCameras(size_t cameras);
  // Rows of the CSV that could not be used at the last import.
  void SetCsvRowErrors(size_t rows);
  // A batch of a camera whose place is not known.
  void UnknownCamera();
  void SetDiskFree(int64_t bytes);

  // Bytes on disk, by what they are for.
  struct Used {
    int64_t pictures = 0;
    int64_t database = 0;
    int64_t predictions = 0;
    int64_t grids = 0;
  };
  // `oldest_record` infinite: there is none.
  void SetUsed(const Used& used, absl::Time oldest_record);
  // Retention removed so many, with files of so many bytes.
  void Removed(RemovedKind kind, RemovalReason reason, int64_t count,
               int64_t bytes);

 private:
  struct Handles;
  std::unique_ptr<Handles> handles_;
};

}  // namespace camherd::aggregator
