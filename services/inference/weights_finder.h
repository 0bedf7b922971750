// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "services/inference/model_manifest.h"

namespace camherd::inference {

// Where weights are looked for, in this order: the model's folder,
// `weights_dir` ($CAMHERD_WEIGHTS_DIR; may be empty), `cache_dir` (what was
// fetched). In the first folder that has any of the manifest's files which
// `engine` can load, the manifest's order decides: an .onnx named before a .pt
// wins beside it.
struct FoundWeights {
  const WeightsEntry* entry = nullptr;
  // Absolute path of the file.
  std::string path;
};

// True if `engine` needs weights by this manifest.
bool NeedsWeights(const ModelManifest& manifest, const std::string& engine);

// Quantized files are looked for first where `int8` asks for them, else not at
// all. Empty where no folder has a file. The entry points into `manifest`.
std::optional<FoundWeights> FindWeights(const ModelManifest& manifest,
                                        const std::string& engine, bool int8,
                                        const std::string& weights_dir,
                                        const std::string& cache_dir);

// The first entry that can be fetched (it has url and sha256), or null.
const WeightsEntry* FetchableWeights(const ModelManifest& manifest,
                                     const std::string& engine);

// kFailedPrecondition: which file to put where, one for any of the model's
// engines, and the URLs they come from.
absl::Status MissingWeights(const ModelManifest& manifest,
                            const std::string& weights_dir);

}  // namespace camherd::inference
