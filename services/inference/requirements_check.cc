// SPDX-License-Identifier: Apache-2.0
#include "services/inference/requirements_check.h"

#include <filesystem>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "services/common/file.h"
#include "services/common/status_macros.h"

namespace camherd::inference {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxFileBytes = 1 << 20;
constexpr int kMaxDepth = 8;

// Empty, or why `path` may not be used from within a requirements file.
std::string WrongPath(const std::string& path) {
  if (path.empty()) return "a path is missing";
  if (absl::StrContains(path, "://")) return "remote files are not allowed";
  const fs::path parsed(path);
  if (parsed.is_absolute() || path[0] == '~') {
    return "absolute paths are not allowed";
  }
  for (const fs::path& part : parsed) {
    if (part == "..") return "paths must stay in the model's folder";
  }
  return "";
}

// The argument of `-r x`, `-rx`, `--requirement x` and `--requirement=x`.
bool TakeOption(absl::string_view line, absl::string_view short_name,
                absl::string_view long_name, std::string* argument) {
  if (absl::StartsWith(line, long_name)) {
    line.remove_prefix(long_name.size());
    if (!line.empty() && line[0] != '=' && !absl::ascii_isspace(line[0])) {
      return false;
    }
    if (absl::StartsWith(line, "=")) line.remove_prefix(1);
  } else if (absl::StartsWith(line, short_name)) {
    line.remove_prefix(short_name.size());
  } else {
    return false;
  }
  *argument = std::string(absl::StripAsciiWhitespace(line));
  return true;
}

// Empty, or why the requirement (no option) is refused.
std::string WrongRequirement(absl::string_view line) {
  if (absl::StrContains(line, "${")) {
    return "environment variables are not allowed";
  }
  const std::string lower = absl::AsciiStrToLower(line);
  for (const absl::string_view scheme : {"git+", "hg+", "svn+", "bzr+"}) {
    if (absl::StrContains(lower, scheme)) {
      return "version control is not allowed";
    }
  }
  if (absl::StrContains(line, "://") || absl::StrContains(lower, "file:")) {
    return "URLs are not allowed";
  }
  // What follows the name of a package: options of its own, but hashes.
  for (const absl::string_view word :
       absl::StrSplit(line, absl::ByAnyChar(" \t"), absl::SkipEmpty())) {
    if (absl::StartsWith(word, "-") && !absl::StartsWith(word, "--hash=")) {
      return absl::StrCat("the option ", word, " is not allowed");
    }
  }
  // A path: it has a slash, or begins with a dot.
  const absl::string_view first = line.substr(0, line.find_first_of(" \t;[@"));
  if (absl::StrContains(first, "/") || absl::StartsWith(first, ".") ||
      absl::StartsWith(first, "~")) {
    return WrongPath(std::string(first));
  }
  const size_t at = line.find('@');
  if (at != absl::string_view::npos &&
      at < std::min(line.find(';'), line.size())) {
    return WrongPath(
        std::string(absl::StripAsciiWhitespace(line.substr(at + 1))));
  }
  return "";
}

// Lines joined at a backslash, without comments, with their first number.
std::vector<std::pair<int, std::string>> LogicalLines(const std::string& text) {
  std::vector<std::pair<int, std::string>> lines;
  int number = 0;
  bool open = false;
  for (absl::string_view raw : absl::StrSplit(text, '\n')) {
    ++number;
    raw = absl::StripTrailingAsciiWhitespace(raw);
    const bool continues = absl::EndsWith(raw, "\\");
    if (continues) raw.remove_suffix(1);
    if (!open) lines.emplace_back(number, "");
    absl::StrAppend(&lines.back().second, raw, continues ? " " : "");
    open = continues;
  }
  for (auto& [line_number, line] : lines) {
    // A comment begins a line or follows white space.
    for (size_t i = 0; i < line.size(); ++i) {
      if (line[i] == '#' && (i == 0 || absl::ascii_isspace(line[i - 1]))) {
        line.resize(i);
      }
    }
    absl::StripAsciiWhitespace(&line);
  }
  return lines;
}

absl::Status Check(const fs::path& path, int depth, std::string* content) {
  if (depth > kMaxDepth) {
    return absl::InvalidArgumentError(
        absl::StrCat(path.string(), ": files are nested too deeply"));
  }
  CAMHERD_ASSIGN_OR_RETURN(const std::string text,
                           ReadFile(path.string(), kMaxFileBytes));
  absl::StrAppend(content, text.size(), ":", text);
  for (const auto& [number, line] : LogicalLines(text)) {
    if (line.empty()) continue;
    std::string wrong;
    std::string included;
    if (TakeOption(line, "-r", "--requirement", &included) ||
        TakeOption(line, "-c", "--constraint", &included)) {
      wrong = WrongPath(included);
    } else if (line == "--require-hashes" ||
               absl::StartsWith(line, "--only-binary")) {
      continue;
    } else if (line[0] == '-') {
      wrong = "this option is not allowed";
    } else {
      wrong = WrongRequirement(line);
    }
    if (!wrong.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat(path.string(), ":", number, ": ", wrong, ": \"",
                       absl::CHexEscape(line.substr(0, 200)), "\""));
    }
    if (!included.empty()) {
      CAMHERD_RETURN_IF_ERROR(
          Check(path.parent_path() / included, depth + 1, content));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::string> CheckRequirements(const std::string& path) {
  std::string content;
  CAMHERD_RETURN_IF_ERROR(Check(path, 0, &content));
  return Sha256Hex(content);
}

}  // namespace camherd::inference
