// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "gateway/http_message.h"

// The one place where status codes meet HTTP.
namespace camherd::gateway {

// The HTTP code for a status code.
HttpCode ToHttpCode(absl::StatusCode code);

// "NOT_FOUND" for a status code's name in an answer.
absl::string_view StatusName(HttpCode code);

// "Not Found", for the status line.
absl::string_view ReasonPhrase(HttpCode code);

// True for codes that say that the caller, not the server, is at fault.
bool IsClientError(HttpCode code);

// The JSON answer for a failed call:
//   {"error":{"code":404,"status":"NOT_FOUND","message":"...","details":[]}}
// with Retry-After where the status carries a retry delay, and WWW-Authenticate
// with 401. Secrets in the message are masked.
HttpResponse ErrorAnswer(const absl::Status& status);

// The same form for what the server itself refuses.
HttpResponse ErrorAnswer(HttpCode code, absl::string_view message);

}  // namespace camherd::gateway
