// SPDX-License-Identifier: Apache-2.0
#include "services/aggregator/rotated_predictions.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <system_error>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "services/common/file.h"

namespace camherd::aggregator {

absl::StatusOr<std::string> FollowLinks(const std::string& path) {
  // As many as Linux follows.
  constexpr int kMaxLinks = 40;
  std::filesystem::path at = path;
  std::error_code error;
  for (int links = 0; links < kMaxLinks; ++links) {
    const std::filesystem::path leads =
        std::filesystem::read_symlink(at, error);
    // Neither a link nor anything else is there.
    if (error.value() == EINVAL || error.value() == ENOENT) return at.string();
    if (error) return ErrnoStatus(error.value(), "readlink", at.string());
    at = at.parent_path() / leads;
  }
  return ErrnoStatus(ELOOP, "readlink", path);
}

std::vector<RotatedPredictions> ListRotatedPredictions(
    const std::string& path) {
  const std::filesystem::path live(FollowLinks(path).value_or(path));
  const std::string file_name = live.filename().string();
  // As RotatedFile makes them.
  const std::string prefix =
      absl::StrCat(absl::StripSuffix(file_name, ".json"), "-");
  std::vector<RotatedPredictions> files;
  std::error_code error;
  for (std::filesystem::directory_iterator it(live.parent_path(), error), end;
       !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    absl::string_view digits = name;
    RotatedPredictions file;
    // Numbers as we write them: no sign, no leading zero.
    if (!absl::ConsumePrefix(&digits, prefix) ||
        !absl::ConsumeSuffix(&digits, ".json") || digits.empty() ||
        digits.front() == '0' ||
        !std::all_of(digits.begin(), digits.end(), absl::ascii_isdigit) ||
        !absl::SimpleAtoi(digits, &file.number)) {
      continue;
    }
    file.path = it->path().string();
    struct stat info = {};
    if (::lstat(file.path.c_str(), &info) != 0 || S_ISDIR(info.st_mode)) {
      continue;
    }
    file.bytes = static_cast<int64_t>(info.st_blocks) * 512;
    file.newest = absl::TimeFromTimespec(info.st_mtim);
    files.push_back(file);
  }
  std::sort(files.begin(), files.end(),
            [](const RotatedPredictions& a, const RotatedPredictions& b) {
              return a.number < b.number;
            });
  return files;
}

}  // namespace camherd::aggregator
