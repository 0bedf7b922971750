// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"

namespace camherd {

// Where a reader of a service's events stands: after event `sequence` of the
// run `boot` of the service.
struct WatchPosition {
  // 16 hexadecimal digits; empty: nowhere yet.
  std::string boot;
  int64_t sequence = 0;

  bool operator==(const WatchPosition& other) const {
    return boot == other.boot && sequence == other.sequence;
  }

  // The resume token: "<boot>-<sequence>"; "" for nowhere.
  std::string ToToken() const;
  // std::nullopt: it is no such token.
  static std::optional<WatchPosition> Parse(absl::string_view token);
  // The beginning of a run that nobody else has had.
  static WatchPosition NewRun();
};

}  // namespace camherd
