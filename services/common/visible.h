// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "absl/strings/string_view.h"

namespace camherd {

// `text` with the bytes of characters that are not seen but change how the text
// beside them looks as \xNN: C1 controls, line separators, and those that turn
// the direction of writing, by which a name can pose as another (Unicode TR 36
// §2.7). All else, controls of ASCII and bytes that are no UTF-8 too, stays.
std::string Visible(absl::string_view text);

}  // namespace camherd
