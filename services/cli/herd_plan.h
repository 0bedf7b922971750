// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "camherd/v1/aggregator_service.pb.h"
#include "camherd/v1/capture_service.pb.h"
#include "services/cli/herd_file.h"

namespace camherd::cli {

// One thing that has to be done for what there is to be what the file says.
struct HerdChange {
  enum class Action {
    kAddCamera,
    kChangeCamera,
    kStartStream,
    kChangeStream,
    // The file brings a login, and that of the running stream is not told: the
    // service compares (`start`), and is given the file's (`update`) where it
    // is another.
    kCompareLogin,
    kStopStream,
  };
  Action action = Action::kAddCamera;
  std::string camera_id = {};
  // "interval_seconds 3 -> 5"; Printable, and without a secret.
  std::vector<std::string> details = {};
  // What the action needs of these.
  v1::Camera camera = {};
  v1::StartStreamRequest start = {};
  v1::UpdateStreamRequest update = {};
};

struct HerdPlan {
  // In the order to do them: cameras, so that masks are there before pictures,
  // what is to stop, what changes, what starts.
  std::vector<HerdChange> changes;
  // Cameras and streams of the file that are as it says.
  int unchanged = 0;
  // What cannot be, by line; then nothing is to be done.
  std::vector<std::string> errors;
};

struct HerdState {
  std::vector<v1::Camera> cameras;
  std::vector<v1::Stream> streams;
  // Names of the models that there are; asked for only where the file names
  // any.
  std::vector<std::string> models;
};

// `prune`: streams that run and are not in the file are stopped. Cameras stay:
// they are places, and records are of them.
HerdPlan MakeHerdPlan(const HerdFile& file, const HerdState& state, bool prune);

}  // namespace camherd::cli
