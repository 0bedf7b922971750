// SPDX-License-Identifier: Apache-2.0
#include "services/common/watch_position.h"

#include <algorithm>

#include "absl/random/random.h"
#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace camherd {
namespace {

constexpr size_t kBootDigits = 16;
constexpr size_t kMaxDigits = 18;

}  // namespace

std::string WatchPosition::ToToken() const {
  return boot.empty() ? "" : absl::StrCat(boot, "-", sequence);
}

std::optional<WatchPosition> WatchPosition::Parse(absl::string_view token) {
  if (token.size() < kBootDigits + 2 ||
      token.size() > kBootDigits + 1 + kMaxDigits ||
      token[kBootDigits] != '-') {
    return std::nullopt;
  }
  WatchPosition position;
  position.boot = std::string(token.substr(0, kBootDigits));
  const absl::string_view digits = token.substr(kBootDigits + 1);
  if (!std::all_of(position.boot.begin(), position.boot.end(),
                   absl::ascii_isxdigit) ||
      !std::all_of(digits.begin(), digits.end(), absl::ascii_isdigit) ||
      !absl::SimpleAtoi(digits, &position.sequence)) {
    return std::nullopt;
  }
  return position;
}

WatchPosition WatchPosition::NewRun() {
  absl::BitGen random;
  return {.boot = absl::StrCat(
              absl::Hex(absl::Uniform<uint64_t>(random), absl::kZeroPad16)),
          .sequence = 0};
}

}  // namespace camherd
