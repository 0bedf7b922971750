// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace camherd::aggregator {

// A file that was predictions.json, by its name: predictions-<number>.json.
struct RotatedPredictions {
  int64_t number = 0;
  std::string path;
  int64_t bytes = 0;  // On disk.
  // captured_at of its newest record, which rotation leaves as the time of
  // its last change.
  absl::Time newest;
};

// Where `path` leads if it is a symbolic link, over further ones; else `path`.
// What is there need not exist. kInternal: the links lead round.
absl::StatusOr<std::string> FollowLinks(const std::string& path);

// Those beside `path` (predictions.json), or beside the file that it leads to,
// in order of their numbers; none where the folder cannot be read.
std::vector<RotatedPredictions> ListRotatedPredictions(const std::string& path);

}  // namespace camherd::aggregator
