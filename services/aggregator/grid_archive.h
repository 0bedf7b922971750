// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "camherd/v1/aggregator_service.pb.h"
#include "camherd/v1/frame.pb.h"
#include "camherd/v1/record.pb.h"
#include "services/aggregator/aggregator_metrics.h"
#include "services/aggregator/disk_watch.h"
#include "services/aggregator/record_store.h"
#include "services/common/clock.h"

namespace camherd::aggregator {

// Makes grids and keeps them as images/<process_name>_<time>.jpg, each with a
// row in the store. The same session with the same frames has one grid, however
// often it is asked for: the file is there, whole and durable, before its row.
//
// Thread-safe; grids are rendered one at a time.
class GridArchive {
 public:
  // All must outlive the archive.
  GridArchive(std::string data_dir, RecordStore& store, DiskWatch& disk,
              Clock& clock, AggregatorMetrics& metrics);

  // OK if the header names what it must and the frame is the one its SHA-256
  // says. kInvalidArgument, kDataLoss.
  static absl::Status CheckHeader(const v1::RenderGridHeader& header);
  static absl::Status CheckFrame(const v1::Frame& frame);

  // REQUIRES: header and frames are checked. kInvalidArgument: not 1..9
  // frames, or one that is no JPEG.
  absl::StatusOr<v1::RenderGridResponse> Render(
      const v1::RenderGridHeader& header, std::vector<v1::Frame> frames);

 private:
  absl::StatusOr<v1::RenderGridResponse> RenderLocked(
      const v1::RenderGridHeader& header, std::vector<v1::Frame>& frames)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const std::string data_dir_;
  RecordStore& store_;
  DiskWatch& disk_;
  Clock& clock_;
  AggregatorMetrics& metrics_;
  absl::Mutex mu_;
};

}  // namespace camherd::aggregator
