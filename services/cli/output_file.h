// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdio>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace camherd::cli {

// A file that is there whole or not at all: written under another name beside
// it, synced, and renamed by Commit. Without Commit, at an error or a signal,
// what was there before stays. Or standard output, which cannot do that.
//
// For the main thread, one at a time.
class OutputFile {
 public:
  // `path` "" or "-": standard output.
  static absl::StatusOr<std::unique_ptr<OutputFile>> Create(
      const std::string& path);
  ~OutputFile();

  bool is_standard_output() const { return path_.empty(); }

  absl::Status Write(absl::string_view data);
  absl::Status Commit();

 private:
  OutputFile() = default;

  std::string path_;
  std::string temporary_;
  FILE* file_ = nullptr;
};

}  // namespace camherd::cli
