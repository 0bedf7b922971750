// SPDX-License-Identifier: Apache-2.0
#include "services/inference/weights_finder.h"

#include <algorithm>
#include <filesystem>
#include <string>
#include <system_error>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
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
                                        const std::string& engine, bool int8,
                                        const std::string& weights_dir,
                                        const std::string& cache_dir) {
  for (const std::string& dir : {manifest.dir, weights_dir, cache_dir}) {
    if (dir.empty()) continue;
    for (const WeightsEntry& entry : manifest.weights) {
      if (!Loads(entry, engine) || entry.int8 != int8) continue;
      const std::filesystem::path path =
          std::filesystem::absolute(dir) / entry.file;
      std::error_code error;
      if (std::filesystem::is_regular_file(path, error)) {
        return FoundWeights{&entry, path.string()};
      }
    }
  }
  if (int8) {
    return FindWeights(manifest, engine, false, weights_dir, cache_dir);
  }
  return std::nullopt;
}

const WeightsEntry* FetchableWeights(const ModelManifest& manifest,
                                     const std::string& engine) {
  for (const WeightsEntry& entry : manifest.weights) {
    if (Loads(entry, engine) && !entry.int8 && !entry.url.empty() &&
        !entry.sha256.empty()) {
      return &entry;
    }
  }
  return nullptr;
}

absl::Status MissingWeights(const ModelManifest& manifest,
                            const std::string& weights_dir) {
  std::vector<std::string> files;
  for (const WeightsEntry& entry : manifest.weights) {
    const bool loadable = std::any_of(
        manifest.engines.begin(), manifest.engines.end(),
        [&](const std::string& engine) { return Loads(entry, engine); });
    if (!loadable || entry.int8) continue;
    files.push_back(entry.url.empty()
                        ? entry.file
                        : absl::StrCat(entry.file, " (from ", entry.url, ")"));
  }
  const std::string hint = absl::StrCat(
      "Put ", absl::StrJoin(files, " or "), " into ", manifest.dir,
      weights_dir.empty()
          ? ", or set CAMHERD_WEIGHTS_DIR to the folder that has it"
          : absl::StrCat(" or ", weights_dir));
  return WithHint(absl::FailedPreconditionError(absl::StrCat(
                      "model ", manifest.name, " has no weights: ", hint)),
                  hint);
}

}  // namespace camherd::inference
