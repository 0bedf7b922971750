// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "camherd/v1/model.pb.h"

namespace camherd::inference {

// One step of making a model ready, as it is shown to people.
struct PrepareProgress {
  camherd::v1::ModelState state = camherd::v1::MODEL_STATE_LOADING;
  // Step `done` of `total`; 0 of 0 where it is not known.
  int done = 0;
  int total = 0;
  std::string text;
  // Last lines of the log, newest last, at most 20; empty: as before.
  std::vector<std::string> log_tail;
};

// Called on the preparing thread; must not block.
using PrepareProgressFn = std::function<void(const PrepareProgress&)>;

}  // namespace camherd::inference
