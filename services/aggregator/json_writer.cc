// SPDX-License-Identifier: Apache-2.0
#include "services/aggregator/json_writer.h"

#include <charconv>
#include <cmath>
#include <cstddef>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "services/common/utf8.h"

namespace camherd::aggregator {
void JsonWriter::Separate() {
  if (needs_comma_) out_ += ", ";
  needs_comma_ = true;
}

void JsonWriter::Open(char bracket) {
  Separate();
  out_ += bracket;
  needs_comma_ = false;
}

void JsonWriter::Close(char bracket) {
  out_ += bracket;
  needs_comma_ = true;
}

void JsonWriter::AppendEscaped(absl::string_view value) {
  out_ += '"';
  while (!value.empty()) {
    const unsigned char c = value[0];
    const size_t length = Utf8Length(value);
    if (length == 0) {
      out_ += "\xEF\xBF\xBD";
      value.remove_prefix(1);
      continue;
    }
    if (c == '"' || c == '\\') {
      out_ += '\\';
      out_ += static_cast<char>(c);
    } else if (c == '\n') {
      out_ += "\\n";
    } else if (c == '\r') {
      out_ += "\\r";
    } else if (c == '\t') {
      out_ += "\\t";
    } else if (c < 0x20 || c == 0x7F) {
      out_ += absl::StrFormat("\\u%04x", c);
    } else {
      out_.append(value.data(), length);
    }
    value.remove_prefix(length);
  }
  out_ += '"';
}

void JsonWriter::Key(absl::string_view key) {
  Separate();
  AppendEscaped(key);
  out_ += ": ";
  needs_comma_ = false;
}

void JsonWriter::String(absl::string_view value) {
  Separate();
  AppendEscaped(value);
}

void JsonWriter::PlainString(absl::string_view value) {
  Separate();
  out_ += '"';
  out_.append(value.data(), value.size());
  out_ += '"';
}

void JsonWriter::Int(int64_t value) {
  Separate();
  absl::StrAppend(&out_, value);
}

void JsonWriter::Double(double value) {
  if (!std::isfinite(value)) return Null();
  Separate();
  char buffer[32];
  const auto result = std::to_chars(buffer, buffer + sizeof(buffer), value);
  const absl::string_view text(buffer, result.ptr - buffer);
  out_.append(text.data(), text.size());
  if (text.find_first_of(".e") == absl::string_view::npos) out_ += ".0";
}

void JsonWriter::Rounded(double value, int decimals) {
  if (!std::isfinite(value)) return Null();
  Separate();
  std::string text = absl::StrFormat("%.*f", decimals, value);
  if (decimals > 0) {
    while (text.back() == '0' && text[text.size() - 2] != '.') text.pop_back();
  }
  if (text == "-0.0") text = "0.0";
  out_ += text;
}

void JsonWriter::Null() {
  Separate();
  out_ += "null";
}

}  // namespace camherd::aggregator
