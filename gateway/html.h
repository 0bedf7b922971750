// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "absl/strings/string_view.h"
#include "gateway/http_message.h"

namespace camherd::gateway {

// Escapes the five characters that mean something in HTML text and attributes.
std::string EscapeHtml(absl::string_view text);

// A whole page of `title` and `body_html` (already escaped) that needs nothing
// but itself, so that it opens from a file too. Its style sheet is allowed by
// its hash in the Content-Security-Policy.
HttpResponse HtmlPage(HttpCode code, absl::string_view title,
                      absl::string_view body_html);

}  // namespace camherd::gateway
