// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "services/cli/console.h"
#include "services/cli/herd_client.h"
#include "services/cli/secret_input.h"

// start, stop, ls, grid and probe. Each returns what became of it; results are
// on the console then.
namespace camherd::cli {

// A camera as it is given on the command line.
struct CameraSource {
  ValueSource url = {};
  ValueSource user = {};
  ValueSource password = {};
  std::string transport = {};
  bool no_tls_verify = false;
};

struct StartOptions {
  CameraSource source = {};
  ValueSource detect_url = {};
  std::string camera_id = {};
  std::vector<std::string> models = {};
  std::optional<double> interval_seconds = {};
  std::string sampling_mode = {};
  std::optional<int32_t> batch_size = {};
  double ttl_seconds = 0;
  int64_t max_frames = 0;
};
absl::Status RunStart(const StartOptions& options, HerdClient& client,
                      Console& console);

struct StopOptions {
  std::vector<std::string> streams = {};
  bool all = false;
};
// All are tried; the first error is returned, the others are said.
absl::Status RunStop(const StopOptions& options, HerdClient& client,
                     Console& console);

struct LsOptions {
  std::vector<std::string> states = {};
  std::string camera_id = {};
  // Stopped ones too.
  bool all = false;
};
absl::Status RunLs(const LsOptions& options, HerdClient& client,
                   Console& console);

struct GridOptions {
  std::string stream = {};
  // Empty: only what the cells are.
  std::string file = {};
};
absl::Status RunGrid(const GridOptions& options, HerdClient& client,
                     Console& console);

// An error too where a step failed.
absl::Status RunProbe(const CameraSource& options, HerdClient& client,
                      Console& console);

// What of a stream's state is good, passing, or bad.
Colour ColourOf(v1::StreamState state);

}  // namespace camherd::cli
