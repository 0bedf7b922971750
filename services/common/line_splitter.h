// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>

#include "absl/strings/string_view.h"

namespace camherd {

// Cuts what a process prints into lines, at LF and CR, without control
// characters; a line longer than 4 KiB is cut, and what is no UTF-8 replaced.
//
// Not thread-safe.
class LineSplitter {
 public:
  using LineFn = std::function<void(const std::string&)>;
  void Add(absl::string_view data, const LineFn& line);
  // Hands out what is left without an end of line.
  void Finish(const LineFn& line);

 private:
  std::string rest_;
};

}  // namespace camherd
