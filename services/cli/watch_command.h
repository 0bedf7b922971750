// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "services/cli/console.h"
#include "services/cli/herd_client.h"

namespace camherd::cli {

struct WatchOptions {
  // Of "streams", "records", "models"; none: all.
  std::vector<std::string> what = {};
  // Empty: all.
  std::string camera_id = {};
};

// Says how streams and models are, then what changes, until it is interrupted.
// Where a service goes away it says so, tries again, goes on where it was when
// the service is back, and says that too: no record is left out, of a stream
// and a model what it is like by then is told. An error: a service is not there
// at the beginning, or refuses.
absl::Status RunWatch(const WatchOptions& options, HerdClient& client,
                      Console& console);

}  // namespace camherd::cli
