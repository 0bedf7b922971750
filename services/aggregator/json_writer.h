// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace camherd::aggregator {

// Appends one JSON value to a string without building a tree: what a record of
// 310 KB costs is then little more than the copying of its bytes. Separators
// are `", "` and `": "`, as Python's json.dumps writes them. Commas are the
// writer's business; that Begin and End match is the caller's.
//
// Strings may hold any bytes: what is no valid UTF-8 becomes U+FFFD.
//
// Not thread-safe.
class JsonWriter {
 public:
  // `out` must outlive the writer.
  explicit JsonWriter(std::string& out) : out_(out) {}

  void BeginObject() { Open('{'); }
  void EndObject() { Close('}'); }
  void BeginArray() { Open('['); }
  void EndArray() { Close(']'); }

  void Key(absl::string_view key);
  void String(absl::string_view value);
  // `value` needs no escaping, such as base64 or hexadecimal.
  void PlainString(absl::string_view value);
  void Int(int64_t value);
  // Shortest form that reads back as the same double, always with a point or
  // an exponent. Not finite: null.
  void Double(double value);
  // Rounded to `decimals` places, without trailing zeros: 0.89, 1.0.
  void Rounded(double value, int decimals);
  void Null();

 private:
  void Separate();
  void Open(char bracket);
  void Close(char bracket);
  void AppendEscaped(absl::string_view value);

  std::string& out_;
  bool needs_comma_ = false;
};

}  // namespace camherd::aggregator
