// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "absl/status/status.h"
#include "services/cli/console.h"

namespace camherd::cli {

struct UpOptions {
  // Where camherd-aggregator and the others are.
  std::string program_dir = {};
  // Both as for a service; "": not given to them.
  std::string config = {};
  std::string data_dir = {};
};

// Runs the four services until SIGINT or SIGTERM: started in the order in which
// they need each other, the next as soon as one serves, and ended in the
// reverse order, each when the one before has ended; a second signal kills what
// is left. A service that ends by itself is started again after a growing
// pause. What they log is printed as it comes, with the service's name before
// it.
//
// An error: a service is not there, cannot use its configuration, or did not
// end in time.
//
// REQUIRES: called by the main thread; nobody else waits for these signals.
absl::Status RunUp(const UpOptions& options, Console& console);

// A line of a service's log as `up` shows it, without colours: "10:15:00
// capture     stream lost stream=gate-3". What is no such line stays as it is.
std::string ReadableLogLine(const std::string& service,
                            const std::string& line);

}  // namespace camherd::cli
