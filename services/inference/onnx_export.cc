// SPDX-License-Identifier: Apache-2.0
#include "services/inference/onnx_export.h"

#include <algorithm>
#include <filesystem>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "services/common/child_process.h"
#include "services/common/file.h"
#include "services/common/log.h"
#include "services/common/status_macros.h"
#include "services/inference/environment.h"

namespace camherd::inference {
namespace {

namespace fs = std::filesystem;

constexpr size_t kTailLines = 20;

}  // namespace

absl::StatusOr<std::string> ExportOnnx(const OnnxExport& request,
                                       const PrepareProgressFn& progress,
                                       const StopSignal& stop) {
  CAMHERD_ASSIGN_OR_RETURN(const std::string sha256,
                           Sha256HexOfFile(request.checkpoint));
  const std::string target = absl::StrCat(request.dir, "/", sha256, ".onnx");
  std::error_code error;
  if (fs::exists(target, error)) return target;
  fs::remove_all(request.dir, error);
  CAMHERD_RETURN_IF_ERROR(MakeDirs(request.dir));

  const std::string file = fs::path(request.checkpoint).filename().string();
  std::vector<std::string> tail;
  const auto report = [&] {
    progress({camherd::v1::MODEL_STATE_LOADING, 0, 0,
              absl::StrCat("exporting ", file, " to ONNX"), tail});
  };
  report();
  const absl::Status exported = RunCommand(
      {.argv = {request.python, request.script, request.checkpoint, target},
       .env = VariablesInEnvironment(request.dir, 1),
       .cwd = request.dir},
      request.timeout, stop, [&](const std::string& line) {
        if (tail.size() == kTailLines) tail.erase(tail.begin());
        tail.push_back(line);
        report();
      });
  if (absl::IsCancelled(exported)) return exported;
  if (!exported.ok()) {
    // All of the tail is in the model's log.
    const auto last = tail.end() - std::min<ptrdiff_t>(tail.size(), 3);
    return absl::InternalError(
        absl::StrCat(file, " cannot be exported to ONNX: ", exported.message(),
                     "; last lines: ", absl::StrJoin(last, tail.end(), " | ")));
  }
  LogInfo("weights exported",
          {{"checkpoint", request.checkpoint}, {"path", target}});
  return target;
}

}  // namespace camherd::inference
