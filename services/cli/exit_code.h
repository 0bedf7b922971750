// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

// What a script learns from the end of a command.
namespace camherd::cli {

enum ExitCode {
  kDone = 0,
  // A service said no, or something failed.
  kFailed = 1,
  // The command line, or a file that it names, was wrong; nothing was done.
  kWrongUsage = 2,
  // A service was not there or did not answer.
  kUnreachable = 3,
  // By SIGINT, as shells count.
  kInterrupted = 130,
};

// kUnavailable; nobody has said no.
absl::Status Unreachable(absl::string_view message);
bool IsUnreachable(const absl::Status& status);

// kInvalidArgument.
absl::Status WrongUsage(absl::string_view message);

ExitCode ExitCodeOf(const absl::Status& status);

}  // namespace camherd::cli
