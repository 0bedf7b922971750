// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

// Page tokens: where the last page ended, and a digest of the filter it
// belongs to. They hold no state of the server and stay valid over restarts.
namespace camherd::aggregator {

std::string MakePageToken(absl::string_view filter,
                          const std::vector<std::string>& position);

// The position given to MakePageToken. kInvalidArgument naming `page_token`:
// not one of ours, or made for another filter.
absl::StatusOr<std::vector<std::string>> ReadPageToken(absl::string_view token,
                                                       absl::string_view filter,
                                                       size_t parts);

// `page_size`, or `fallback` for 0. kInvalidArgument outside [0, 1000].
absl::StatusOr<int> CheckPageSize(int page_size, int fallback);

}  // namespace camherd::aggregator
