// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "absl/strings/string_view.h"

namespace camherd::gateway {

struct StaticFile {
  absl::string_view name;
  absl::string_view bytes;
};

// The files of gateway/static, as they were when the binary was built
// (embed_files.cmake).
const std::vector<StaticFile>& StaticFiles();

// One: the messages and services of proto/ as a FileDescriptorSet, with their
// comments.
const std::vector<StaticFile>& ProtoFiles();

}  // namespace camherd::gateway
