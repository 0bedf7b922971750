// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "services/common/stop_signal.h"
#include "services/inference/prepare_progress.h"

namespace camherd::inference {

struct OnnxExport {
  // The checkpoint, and the interpreter of an environment with ultralytics.
  std::string checkpoint;
  std::string python;
  // models/export_onnx.py.
  std::string script;
  // Folder for what is exported: <SHA-256 of the checkpoint>.onnx.
  std::string dir;
  absl::Duration timeout = absl::Minutes(10);
};

// The path of the checkpoint as ONNX, which is exported where that has not been
// done; a checkpoint of other bytes is exported anew, and what was exported of
// the last one removed. Reports LOADING.
//   kInternal    the script failed; its last lines are in the message
//   kCancelled   `stop` was set
//   and errors of files
absl::StatusOr<std::string> ExportOnnx(const OnnxExport& request,
                                       const PrepareProgressFn& progress,
                                       const StopSignal& stop);

}  // namespace camherd::inference
