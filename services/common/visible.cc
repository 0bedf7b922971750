// SPDX-License-Identifier: Apache-2.0
#include "services/common/visible.h"

#include <algorithm>
#include <cstddef>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "services/common/utf8.h"

namespace camherd {
namespace {

bool IsDeceptive(absl::string_view character) {
  if (character.size() == 2) {
    return character == "\u061c" ||
           (character[0] == '\xc2' &&
            static_cast<unsigned char>(character[1]) < 0xa0);
  }
  for (const absl::string_view deceptive :
       {"\u200b", "\u200c", "\u200d", "\u200e", "\u200f", "\u2028", "\u2029",
        "\u202a", "\u202b", "\u202c", "\u202d", "\u202e", "\u2066", "\u2067",
        "\u2068", "\u2069", "\ufeff"}) {
    if (character == deceptive) return true;
  }
  return false;
}

}  // namespace

std::string Visible(absl::string_view text) {
  std::string visible;
  while (!text.empty()) {
    const size_t length = std::max<size_t>(1, Utf8Length(text));
    const absl::string_view character = text.substr(0, length);
    absl::StrAppend(&visible, IsDeceptive(character)
                                  ? absl::CHexEscape(character)
                                  : std::string(character));
    text.remove_prefix(length);
  }
  return visible;
}

}  // namespace camherd
