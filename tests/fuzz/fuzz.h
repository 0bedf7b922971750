// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/string_view.h"
#include "services/common/utf8.h"

// What the fuzz targets share. See README.md for how they are run.
namespace camherd::fuzz {

// A secret that a target puts where secrets stand. It holds nothing that any
// encoding changes, so that it is found wherever it comes out.
inline constexpr absl::string_view kCanary = "S3cr3tCanary";

inline absl::string_view Text(const uint8_t* data, size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

// Takes what stands before the next `end`, or all.
inline absl::string_view TakeUntil(absl::string_view& text, char end) {
  const size_t size = text.find(end);
  const absl::string_view taken = text.substr(0, size);
  text = size == absl::string_view::npos ? "" : text.substr(size + 1);
  return taken;
}

// Ends the program, which makes the input a finding, unless `holds`.
inline void Promise(bool holds, absl::string_view promise,
                    absl::string_view value = "") {
  if (holds) return;
  std::fprintf(stderr, "broken: %s\nby: \"%s\"\n", std::string(promise).c_str(),
               absl::CHexEscape(value).c_str());
  std::abort();
}

inline void PromiseNoCanary(absl::string_view text) {
  Promise(!absl::StrContains(text, kCanary), "no secret comes out", text);
}

// Of what is told to people, and sent in a message.
inline void PromiseUtf8(absl::string_view text) {
  Promise(IsUtf8(text), "what comes out is UTF-8", text);
}

// Of what stands in a line of a log or a header.
inline void PromisePrintable(absl::string_view text) {
  for (const char c : text) {
    Promise(absl::ascii_isprint(static_cast<unsigned char>(c)),
            "what comes out is printable ASCII", text);
  }
}

}  // namespace camherd::fuzz
