// SPDX-License-Identifier: Apache-2.0
#include "gateway/route.h"

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"

namespace camherd::gateway {

bool MatchesTemplate(absl::string_view path, absl::string_view path_template,
                     std::vector<std::string>* values) {
  const std::vector<absl::string_view> have = absl::StrSplit(path, '/');
  const std::vector<absl::string_view> want =
      absl::StrSplit(path_template, '/');
  if (have.size() != want.size()) return false;
  values->clear();
  for (size_t i = 0; i < have.size(); ++i) {
    if (absl::StartsWith(want[i], "{")) {
      if (have[i].empty()) return false;
      values->emplace_back(have[i]);
    } else if (have[i] != want[i]) {
      return false;
    }
  }
  return true;
}

}  // namespace camherd::gateway
