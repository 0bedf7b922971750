// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "absl/strings/string_view.h"

namespace camherd {

// Appends `text` as it stands in a JSON string, without the quotes. Bytes that
// are not part of valid UTF-8 become \ufffd; nothing in it ends a line, hides,
// or turns the direction of writing.
void AppendJsonEscaped(absl::string_view text, std::string& out);

}  // namespace camherd
