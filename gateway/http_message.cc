// SPDX-License-Identifier: Apache-2.0
#include "gateway/http_message.h"

#include <algorithm>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gateway/http_status.h"
#include "services/common/clock.h"

namespace camherd::gateway {
namespace {

bool Has(const Fields& fields, absl::string_view name) {
  return std::any_of(fields.begin(), fields.end(), [&](const auto& field) {
    return absl::EqualsIgnoreCase(field.first, name);
  });
}

void AppendLine(absl::string_view name, absl::string_view value,
                std::string* out) {
  absl::StrAppend(out, name, ": ");
  for (const char c : value) {
    if (static_cast<unsigned char>(c) >= 0x20 && c != 0x7f) out->push_back(c);
  }
  out->append("\r\n");
}

}  // namespace

Fields SecurityHeaders(absl::string_view style_hash) {
  const std::string style =
      style_hash.empty() ? "" : absl::StrCat(" '", style_hash, "'");
  return {
      {"Content-Security-Policy",
       absl::StrCat("default-src 'none'; script-src 'self'; style-src 'self'",
                    style,
                    "; img-src 'self' data:; connect-src 'self'; "
                    "form-action 'self'; base-uri 'none'; "
                    "frame-ancestors 'none'")},
      {"X-Content-Type-Options", "nosniff"},
      {"X-Frame-Options", "DENY"},
      {"Referrer-Policy", "no-referrer"},
      {"Cross-Origin-Resource-Policy", "same-origin"},
      {"Cross-Origin-Opener-Policy", "same-origin"},
      {"Cache-Control", "no-store"},
      {"Date", absl::FormatTime("%a, %d %b %Y %H:%M:%S GMT",
                                Clock::Real().Now(), absl::UTCTimeZone())},
  };
}

std::string SerializeHead(const HttpResponse& response, Framing framing,
                          bool keep_alive) {
  std::string out = absl::StrCat("HTTP/1.1 ", static_cast<int>(response.code),
                                 " ", ReasonPhrase(response.code), "\r\n");
  for (const auto& [name, value] : response.headers) {
    AppendLine(name, value, &out);
  }
  for (const auto& [name, value] : SecurityHeaders()) {
    if (!Has(response.headers, name)) AppendLine(name, value, &out);
  }
  if (!response.content_type.empty()) {
    AppendLine("Content-Type", response.content_type, &out);
  }
  if (framing == Framing::kChunks) {
    AppendLine("Transfer-Encoding", "chunked", &out);
  } else if (framing == Framing::kLength &&
             response.code != HttpCode::kNoContent &&
             response.code != HttpCode::kNotModified) {
    AppendLine("Content-Length", absl::StrCat(response.body.size()), &out);
  }
  out.append(keep_alive ? "\r\n" : "Connection: close\r\n\r\n");
  return out;
}

std::string Chunk(absl::string_view piece) {
  return absl::StrCat(absl::Hex(piece.size()), "\r\n", piece, "\r\n");
}

std::string Serialize(const HttpResponse& response, bool head_only,
                      bool keep_alive) {
  std::string out = SerializeHead(response, Framing::kLength, keep_alive);
  if (!head_only) out.append(response.body);
  return out;
}

}  // namespace camherd::gateway
