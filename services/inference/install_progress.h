// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "absl/strings/string_view.h"

namespace camherd::inference {

// Follows what uv and pip print while they install, and says how far they are.
// The number of packages installed is counted by the caller (folders named
// *.dist-info), since neither prints it while it works.
//
// Not thread-safe.
class InstallProgress {
 public:
  // One line of the installer's output.
  void AddLine(absl::string_view line);
  // Packages that lie in the environment now, beyond those it began with.
  void SetInstalled(int installed) { installed_ = installed; }

  // Both 0 until the installer has said how many there are.
  int done() const;
  int total() const { return total_; }

  // "resolving", "collecting torch", "downloading torch (800.1MiB)",
  // "installing 3 of 59".
  std::string text() const;

 private:
  int installed_ = 0;
  int total_ = 0;
  int collected_ = 0;
  bool installing_ = false;
  std::string step_ = "resolving";
};

}  // namespace camherd::inference
