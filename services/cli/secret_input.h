// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

// Camera URLs and logins on their way in. Everyone on a machine can see the
// arguments of its processes, so what may hold a password comes from a file,
// the environment or standard input.
namespace camherd::cli {

// The places that one value may come from; one of them at most is given.
struct ValueSource {
  std::string value = {};
  // "-": the next line of standard input, unseen where that is a terminal.
  std::string file = {};
  // Name of a variable.
  std::string env = {};

  bool given() const { return !value.empty() || !file.empty() || !env.empty(); }
};

// The first line of a file, variable or standard input; "" where nothing is
// given. `name` is for messages: "password", "detect URL". WrongUsage: more
// than one place, a place that is empty or is not there, or a file that others
// than its owner and group can read, where what it holds is a secret.
absl::StatusOr<std::string> ReadValue(absl::string_view name,
                                      const ValueSource& source);

// The same for a URL: as an argument it must hold no password, and it is fit
// for CameraUrl. WrongUsage else.
absl::StatusOr<std::string> ReadUrl(absl::string_view name,
                                    const ValueSource& source);

}  // namespace camherd::cli
