// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "camherd/v1/aggregator_service.pb.h"
#include "camherd/v1/camera.pb.h"
#include "services/aggregator/aggregator_metrics.h"
#include "services/aggregator/camera_csv.h"
#include "services/aggregator/record_store.h"
#include "services/common/clock.h"
#include "services/common/steady_mutex.h"

namespace camherd::aggregator {

// Where the cameras are, and what of their pictures counts. It holds all
// cameras in memory, keeps them in the record store, and imports the CSV at
// start and whenever the file changes.
//
// CSV and API meet by one rule: the later change counts. An import compares
// each row with the row it imported last for that camera: one that changed
// replaces place (and name, where the file has that column); one that did not
// leaves alone what the API set since. A row that is gone from the file leaves
// the camera as it is, since its records go on pointing at it. Masks, zones,
// thresholds and classes are the API's alone.
//
// Every change has a revision: microseconds since 1970, or one more than the
// last where the clock has not moved on. By time, so that the revisions of a
// store that was begun anew do not repeat those of the one before.
//
// A bad row is logged with its line and counted; the others load. A file that
// is missing is fine; one that cannot be read is logged and tried again when
// it changes.
//
// Thread-safe. The destructor stops watching.
class CameraDirectory {
 public:
  struct Options {
    std::string csv_path = {};  // Empty: no file.
    // How often the file is looked at.
    absl::Duration poll_interval = absl::Seconds(5);
    size_t max_csv_bytes = size_t{16} << 20;
    // That there may be.
    size_t max_cameras = kMaxCameras;
  };

  // Loads what the store holds and imports the file once. `store`, `clock` and
  // `metrics` must outlive the directory.
  static absl::StatusOr<std::unique_ptr<CameraDirectory>> Create(
      const Options& options, RecordStore& store, Clock& clock,
      AggregatorMetrics& metrics);
  ~CameraDirectory();

  // Begins to look at the file every `poll_interval`.
  void StartWatching();

  // Looks at the file now and imports it if it changed since the last look.
  void PollCsv();

  std::optional<v1::Camera> Find(const std::string& camera_id) const;

  // As Find; the first time that a camera's place is not known it is logged.
  std::optional<v1::Camera> FindForRecord(const std::string& camera_id);

  // At most `limit` cameras in order of id, those after `after` and of a
  // revision over `after_revision` (0: of any).
  std::vector<v1::Camera> List(const std::string& after, size_t limit,
                               int64_t after_revision = 0) const;

  // The latest; 1: nothing has changed yet.
  int64_t revision() const;

  // Adds or replaces; answers the camera as stored. kInvalidArgument naming
  // field and value; kResourceExhausted: there are too many.
  absl::StatusOr<v1::Camera> Upsert(const v1::Camera& camera);

  // Imports the text of a CSV. kInvalidArgument: too long, or no row could be
  // used because the columns are not there or the cameras too many;
  // kResourceExhausted: too many with those that there are.
  absl::StatusOr<v1::ImportCamerasResponse> Import(absl::string_view csv);

 private:
  CameraDirectory(const Options& options, RecordStore& store, Clock& clock,
                  AggregatorMetrics& metrics);
  void WatchLoop();
  // OK if so many more cameras may be added.
  absl::Status CheckRoom(size_t added) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  int64_t NextRevision() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const Options options_;
  RecordStore& store_;
  Clock& clock_;
  AggregatorMetrics& metrics_;

  // Serialises changes, so that memory and store agree. Before mu_.
  absl::Mutex change_mu_;
  // Size, time and inode of the file when it was last looked at.
  std::string csv_stamp_ ABSL_GUARDED_BY(change_mu_);

  mutable SteadyMutex mu_;
  std::map<std::string, StoredCamera> cameras_ ABSL_GUARDED_BY(mu_);
  int64_t revision_ ABSL_GUARDED_BY(mu_) = 1;
  // Cameras whose missing place has been logged; bounded.
  std::set<std::string> warned_ ABSL_GUARDED_BY(mu_);
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;

  std::thread watcher_;
};

}  // namespace camherd::aggregator
