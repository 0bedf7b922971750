// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>

#include "absl/strings/string_view.h"

namespace camherd::capture {

// Hears what FFmpeg's libraries say on this thread, from construction to
// destruction: some of it they say only in their log. Lines up to warnings go
// to our debug log as well, without secrets, from the first listener on.
//
// Used by one thread; a second listener of the same thread hears in the first
// one's stead while it lives.
class LibavListener {
 public:
  // Gets every line of any level: its format, which names it, and its text.
  using Hear = std::function<void(absl::string_view format,
                                  const std::function<std::string()>& text)>;

  explicit LibavListener(Hear hear);
  ~LibavListener();

  LibavListener(const LibavListener&) = delete;
  LibavListener& operator=(const LibavListener&) = delete;

 private:
  friend class LibavLog;

  const Hear hear_;
  LibavListener* const before_;
};

}  // namespace camherd::capture
