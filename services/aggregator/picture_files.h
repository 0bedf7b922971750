// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"

namespace camherd::aggregator {

// The pictures of records as files below the data folder, and the removal of
// grids too. A picture is written
// beside, synced, and renamed: a name never shows half a picture. The name
// itself is durable after SyncFolder, which one commit calls once for all its
// pictures of a folder.
//
// A failed sync ends the process, except for want of space, where the file is
// thrown away.
//
// Thread-safe.
class PictureFiles {
 public:
  struct Options {
    std::string data_dir = {};
    // Seam for tests: syncs the data of an open file, as fdatasync does.
    std::function<int(int fd)> sync = nullptr;
  };

  // Makes the folders and throws away what an earlier process left half done.
  static absl::StatusOr<std::unique_ptr<PictureFiles>> Create(
      const Options& options);

  // To be read only, while another process has them.
  static std::unique_ptr<PictureFiles> OfAnother(const std::string& data_dir);

  // Writes `<data>/<folder>/<name>`, in place of one of that name.
  // kResourceExhausted: the disk is full; nothing is left of the picture.
  absl::Status Write(const std::string& folder, const std::string& name,
                     absl::string_view jpeg);

  // Makes the names in `<data>/<folder>` durable.
  absl::Status SyncFolder(const std::string& folder);

  // `path` below the data folder.
  absl::StatusOr<std::string> Read(const std::string& path);

  // Calls for each picture of a record that is there, as Read takes it, until
  // it returns false.
  void ForEach(absl::FunctionRef<bool(const std::string& path)> take) const;

  // Removes files, given below the data folder, durably, and the folders of
  // pictures that are empty then. A file that is gone is fine.
  absl::Status Remove(const std::vector<std::string>& paths);

 private:
  explicit PictureFiles(const Options& options);

  absl::Status MakeFolder(const std::string& folder);
  absl::Status WriteTemp(const std::string& temp, absl::string_view jpeg);

  const Options options_;
  std::atomic<uint64_t> next_temp_{0};

  absl::Mutex mu_;
  // Folders known to be there and durable.
  std::set<std::string> folders_ ABSL_GUARDED_BY(mu_);
};

}  // namespace camherd::aggregator
