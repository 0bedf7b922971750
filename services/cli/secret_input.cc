// SPDX-License-Identifier: Apache-2.0
#include "services/cli/secret_input.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <cstdlib>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "services/cli/exit_code.h"
#include "services/cli/interrupt.h"
#include "services/common/camera_url.h"
#include "services/common/file.h"
#include "services/common/secret_file.h"
#include "services/common/status_macros.h"

namespace camherd::cli {
namespace {

// Longer than any URL that is taken.
constexpr size_t kMaxBytes = 8192;

// Without its end.
std::string FirstLine(absl::string_view text) {
  std::string line(text.substr(0, text.find('\n')));
  if (!line.empty() && line.back() == '\r') line.pop_back();
  return line;
}

absl::StatusOr<std::string> ReadInputLine(absl::string_view name) {
  const bool terminal = isatty(STDIN_FILENO) == 1;
  if (terminal) {
    HideInput();
    std::fprintf(stderr, "%s (not shown): ", std::string(name).c_str());
    std::fflush(stderr);
  }
  std::string line;
  for (int c = std::getc(stdin); c != EOF && c != '\n'; c = std::getc(stdin)) {
    if (line.size() <= kMaxBytes) line.push_back(static_cast<char>(c));
  }
  if (terminal) {
    ShowInput();
    std::fprintf(stderr, "\n");
  }
  if (line.size() > kMaxBytes) {
    return WrongUsage(absl::StrCat("the ", name,
                                   " on standard input is longer than ",
                                   kMaxBytes, " bytes"));
  }
  return FirstLine(line);
}

bool IsRegularFile(const std::string& path) {
  struct stat info = {};
  return stat(path.c_str(), &info) == 0 && S_ISREG(info.st_mode);
}

// True for all but URLs without a login.
bool IsSecret(absl::string_view name, const std::string& text) {
  return !absl::EndsWithIgnoreCase(name, "url") ||
         absl::StrContains(text, '@') || MaskSecrets(text) != text;
}

absl::StatusOr<std::string> ReadNamedFile(absl::string_view name,
                                          const std::string& path) {
  absl::StatusOr<std::string> text = ReadFile(path, kMaxBytes);
  if (!text.ok()) {
    return WrongUsage(
        absl::StrCat("the ", name, ": ", text.status().message()));
  }
  // A pipe, such as a shell makes of <(...), is nobody else's.
  if (IsSecret(name, *text) && IsRegularFile(path)) {
    if (const auto kept = ReadSecretFile(path, kMaxBytes); !kept.ok()) {
      return WrongUsage(
          absl::StrCat("the ", name, ": ", kept.status().message()));
    }
  }
  return FirstLine(*text);
}

}  // namespace

absl::StatusOr<std::string> ReadValue(absl::string_view name,
                                      const ValueSource& source) {
  const int places =
      !source.value.empty() + !source.file.empty() + !source.env.empty();
  if (places > 1) {
    return WrongUsage(absl::StrCat("give the ", name, " once"));
  }
  std::string text = source.value;
  if (source.file == "-") {
    CAMHERD_ASSIGN_OR_RETURN(text, ReadInputLine(name));
  } else if (!source.file.empty()) {
    CAMHERD_ASSIGN_OR_RETURN(text, ReadNamedFile(name, source.file));
  } else if (!source.env.empty()) {
    const char* found = std::getenv(source.env.c_str());
    if (found == nullptr) {
      return WrongUsage(absl::StrCat("the ", name, ": $", source.env,
                                     " is not in the environment"));
    }
    text = FirstLine(found);
  }
  if (text.empty() && source.given()) {
    return WrongUsage(absl::StrCat("the ", name, " must not be empty"));
  }
  return text;
}

absl::StatusOr<std::string> ReadUrl(absl::string_view name,
                                    const ValueSource& source) {
  if (IsSecret(name, source.value)) {
    const std::string option = absl::StrCat(
        "--", absl::StrReplaceAll(absl::AsciiStrToLower(name), {{" ", "-"}}),
        "-file");
    return WrongUsage(absl::StrCat(
        "the ", name,
        " holds a password, and everyone on this machine can see the arguments "
        "of a process; put it into a file, chmod 600, and give ",
        option, " FILE, or ", option,
        " - to have it read from standard input"));
  }
  CAMHERD_ASSIGN_OR_RETURN(std::string url, ReadValue(name, source));
  if (url.empty()) return url;
  if (const auto parsed = CameraUrl::Parse(url); !parsed.ok()) {
    return WrongUsage(parsed.status().message());
  }
  return url;
}

}  // namespace camherd::cli
