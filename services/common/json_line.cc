// SPDX-License-Identifier: Apache-2.0
#include "services/common/json_line.h"

#include <cstddef>
#include <cstdint>

#include "absl/strings/str_format.h"
#include "services/common/utf8.h"

namespace camherd {
namespace {

// C1 controls and the line separators would break "one event, one line"; by
// what is not seen, or turns the direction of writing, one name can pose as
// another. Source: Unicode TR 36 §2.7.
bool IsDeceptive(uint32_t code) {
  return code < 0xa0 || code == 0x061c || (code >= 0x200b && code <= 0x200f) ||
         (code >= 0x2028 && code <= 0x202e) ||
         (code >= 0x2066 && code <= 0x2069) || code == 0xfeff;
}

}  // namespace

void AppendJsonEscaped(absl::string_view text, std::string& out) {
  for (size_t i = 0; i < text.size();) {
    const unsigned char c = static_cast<unsigned char>(text[i]);
    if (c >= 0x20 && c < 0x7f) {
      if (c == '"' || c == '\\') out.push_back('\\');
      out.push_back(static_cast<char>(c));
      ++i;
    } else if (c < 0x80) {
      switch (c) {
        case '\n':
          out += "\\n";
          break;
        case '\r':
          out += "\\r";
          break;
        case '\t':
          out += "\\t";
          break;
        default:
          absl::StrAppendFormat(&out, "\\u%04x", c);
      }
      ++i;
    } else {
      const size_t length = Utf8Length(text.substr(i));
      if (length == 0) {
        out += "\\ufffd";
        ++i;
        continue;
      }
      uint32_t code = c & (0xff >> (length + 1));
      for (size_t k = 1; k < length; ++k) {
        code = (code << 6) | (static_cast<unsigned char>(text[i + k]) & 0x3f);
      }
      if (IsDeceptive(code)) {
        absl::StrAppendFormat(&out, "\\u%04x", code);
      } else {
        out.append(text.data() + i, length);
      }
      i += length;
    }
  }
}

}  // namespace camherd
