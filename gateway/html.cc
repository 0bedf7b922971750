// SPDX-License-Identifier: Apache-2.0
#include "gateway/html.h"

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "services/common/file.h"

namespace camherd::gateway {
namespace {

constexpr absl::string_view kStyle = R"(
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 76rem;
       margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin: 0 0 .25rem; }
p { margin: .5rem 0; }
img { display: block; width: 100%; height: auto; margin: 1rem 0;
      border-radius: 8px; }
table { border-collapse: collapse; }
td, th { text-align: left; padding: .2rem 1.5rem .2rem 0; }
th { font-weight: 600; }
)";

const Fields& Headers() {
  static const auto& headers = *new Fields(SecurityHeaders(
      absl::StrCat("sha256-", absl::Base64Escape(Sha256(kStyle)))));
  return headers;
}

}  // namespace

std::string EscapeHtml(absl::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (const char c : text) {
    switch (c) {
      case '&':
        out.append("&amp;");
        break;
      case '<':
        out.append("&lt;");
        break;
      case '>':
        out.append("&gt;");
        break;
      case '"':
        out.append("&quot;");
        break;
      case '\'':
        out.append("&#39;");
        break;
      default:
        out.push_back(c);
    }
  }
  return out;
}

HttpResponse HtmlPage(HttpCode code, absl::string_view title,
                      absl::string_view body_html) {
  HttpResponse response;
  response.code = code;
  response.content_type = "text/html; charset=utf-8";
  response.body = absl::StrCat(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n"
      "<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, "
      "initial-scale=1\">\n<title>",
      EscapeHtml(title), "</title>\n<style>", kStyle,
      "</style>\n</head>\n<body>\n", body_html, "\n</body>\n</html>\n");
  for (const auto& header : Headers()) {
    // Only what differs from the server's own; Date is its own.
    if (header.first == "Content-Security-Policy") {
      response.headers.push_back(header);
    }
  }
  return response;
}

}  // namespace camherd::gateway
