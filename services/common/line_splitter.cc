// SPDX-License-Identifier: Apache-2.0
#include "services/common/line_splitter.h"

#include "services/common/utf8.h"

namespace camherd {
namespace {

constexpr size_t kMaxLineBytes = 4096;

}  // namespace

void LineSplitter::Add(absl::string_view data, const LineFn& line) {
  for (const char c : data) {
    if (c == '\n' || c == '\r') {
      if (!rest_.empty()) line(ToUtf8(rest_));
      rest_.clear();
    } else if (rest_.size() < kMaxLineBytes) {
      rest_.push_back(static_cast<unsigned char>(c) < 0x20 ? ' ' : c);
    }
  }
}

void LineSplitter::Finish(const LineFn& line) {
  if (!rest_.empty()) line(ToUtf8(rest_));
  rest_.clear();
}

}  // namespace camherd
