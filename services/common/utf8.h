// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>

#include "absl/strings/string_view.h"

namespace camherd {

// Protobuf and JSON hold nothing but UTF-8: a message with another byte is
// written without an error, and cannot be read by anyone.

// Bytes of the well-formed sequence at the start of `text`, 1 to 4; 0: there is
// none. Source: Unicode 15 §3.9, table 3-7 (no surrogates, no overlong forms).
size_t Utf8Length(absl::string_view text);

bool IsUtf8(absl::string_view text);

// True if `text` is UTF-8 without what no name in any language needs and what
// can make it pose as another: controls but tab and line breaks, the separators
// of lines and paragraphs, and the embeddings, overrides and isolates that turn
// the direction of writing. Source: Unicode TR 36 §2.7.
bool IsPlainText(absl::string_view text);

// `text` with U+FFFD for each byte that is in no well-formed sequence.
std::string ToUtf8(absl::string_view text);

}  // namespace camherd
