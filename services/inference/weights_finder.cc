// SPDX-License-Identifier: Apache-2.0
#include "services/inference/weights_finder.h"

#include <algorithm>
#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "services/inference/status_hint.h"

namespace camherd::inference {
namespace {

bool Loads(const WeightsEntry& entry, const std::string& engine) {
  return entry.engines.empty() ||
         std::find(entry.engines.begin(), entry.engines.end(), engine) !=
             entry.engines.end();
}

}  // namespace

bool NeedsWeights(const ModelManifest& manifest, const std::string& engine) {
  return std::any_of(
      manifest.weights.begin(), manifest.weights.end(),
      [&](const WeightsEntry& entry) { return Loads(entry, engine); });
}

std::optional<FoundWeights> FindWeights(const ModelManifest& manifest,
                                        const std::string& engine,
                                        const std::string& weights_dir,
                                        const std::string& cache_dir) {
  for (const std::string& dir : {manifest.dir, weights_dir, cache_dir}) {
    if (dir.empty()) continue;
    for (const WeightsEntry& entry : manifest.weights) {
      if (!Loads(entry, engine)) continue;
      const std::filesystem::path path =
          std::filesystem::absolute(dir) / entry.file;
      std::error_code error;
      if (std::filesystem::is_regular_file(path, error)) {
        return FoundWeights{&entry, path.string()};
      }
    }
  }
  return std::nullopt;
}

const WeightsEntry* FetchableWeights(const ModelManifest& manifest,
                                     const std::string& engine) {
  for (const WeightsEntry& entry : manifest.weights) {
    if (Loads(entry, engine) && !entry.url.empty() && !entry.sha256.empty()) {
      return &entry;
    }
  }
  return nullptr;
}

absl::Status MissingWeights(const ModelManifest& manifest,
                            const std::string& engine,
                            const std::string& weights_dir) {
  for (const WeightsEntry& entry : manifest.weights) {
    if (!Loads(entry, engine)) continue;
    const std::string place =
        weights_dir.empty()
            ? absl::StrCat(manifest.dir,
                           " (or set CAMHERD_WEIGHTS_DIR to the "
                           "folder that has it)")
            : absl::StrCat(manifest.dir, " or ", weights_dir);
    const std::string hint =
        absl::StrCat("Put ", entry.file, " into ", place,
                     entry.url.empty() ? "" : "; it comes from ", entry.url);
    return WithHint(absl::FailedPreconditionError(absl::StrCat(
                        "model ", manifest.name, " has no weights: ", hint)),
                    hint);
  }
  return absl::OkStatus();
}

}  // namespace camherd::inference
