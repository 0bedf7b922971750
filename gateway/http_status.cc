// SPDX-License-Identifier: Apache-2.0
#include "gateway/http_status.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "services/common/camera_url.h"
#include "services/common/proto_json.h"
#include "services/common/retry_delay.h"
#include "services/common/visible.h"

namespace camherd::gateway {
namespace {

HttpResponse Error(HttpCode code, absl::string_view name,
                   absl::string_view message) {
  HttpResponse response;
  response.code = code;
  response.content_type = "application/json";
  response.body = absl::StrCat(
      "{\"error\":{\"code\":", static_cast<int>(code), ",\"status\":\"", name,
      "\",\"message\":", QuoteJson(Visible(MaskSecrets(message))),
      ",\"details\":[]}}\n");
  return response;
}

}  // namespace

HttpCode ToHttpCode(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kOk:
      return HttpCode::kOk;
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kOutOfRange:
      return HttpCode::kBadRequest;
    case absl::StatusCode::kUnauthenticated:
      return HttpCode::kUnauthorized;
    case absl::StatusCode::kPermissionDenied:
      return HttpCode::kForbidden;
    case absl::StatusCode::kNotFound:
      return HttpCode::kNotFound;
    // The request is well formed, but the state of what it names forbids it.
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kAlreadyExists:
    case absl::StatusCode::kAborted:
      return HttpCode::kConflict;
    case absl::StatusCode::kResourceExhausted:
      return HttpCode::kTooManyRequests;
    case absl::StatusCode::kUnimplemented:
      return HttpCode::kNotImplemented;
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kCancelled:
      return HttpCode::kUnavailable;
    case absl::StatusCode::kDeadlineExceeded:
      return HttpCode::kGatewayTimeout;
    default:
      return HttpCode::kInternalError;
  }
}

absl::string_view StatusName(HttpCode code) {
  switch (code) {
    case HttpCode::kUnauthorized:
      return "UNAUTHENTICATED";
    case HttpCode::kForbidden:
    case HttpCode::kMisdirected:
      return "PERMISSION_DENIED";
    case HttpCode::kNotFound:
      return "NOT_FOUND";
    case HttpCode::kConflict:
      return "FAILED_PRECONDITION";
    case HttpCode::kRequestTimeout:
    case HttpCode::kGatewayTimeout:
      return "DEADLINE_EXCEEDED";
    case HttpCode::kContentTooLarge:
    case HttpCode::kUriTooLong:
    case HttpCode::kHeadersTooLarge:
      return "OUT_OF_RANGE";
    case HttpCode::kTooManyRequests:
      return "RESOURCE_EXHAUSTED";
    case HttpCode::kMethodNotAllowed:
    case HttpCode::kNotImplemented:
    case HttpCode::kVersionNotSupported:
      return "UNIMPLEMENTED";
    case HttpCode::kUnavailable:
      return "UNAVAILABLE";
    case HttpCode::kInternalError:
      return "INTERNAL";
    default:
      return IsClientError(code) ? "INVALID_ARGUMENT" : "OK";
  }
}

absl::string_view ReasonPhrase(HttpCode code) {
  switch (code) {
    case HttpCode::kOk:
      return "OK";
    case HttpCode::kCreated:
      return "Created";
    case HttpCode::kAccepted:
      return "Accepted";
    case HttpCode::kNoContent:
      return "No Content";
    case HttpCode::kNotModified:
      return "Not Modified";
    case HttpCode::kBadRequest:
      return "Bad Request";
    case HttpCode::kUnauthorized:
      return "Unauthorized";
    case HttpCode::kForbidden:
      return "Forbidden";
    case HttpCode::kNotFound:
      return "Not Found";
    case HttpCode::kMethodNotAllowed:
      return "Method Not Allowed";
    case HttpCode::kRequestTimeout:
      return "Request Timeout";
    case HttpCode::kConflict:
      return "Conflict";
    case HttpCode::kContentTooLarge:
      return "Content Too Large";
    case HttpCode::kUriTooLong:
      return "URI Too Long";
    case HttpCode::kUnsupportedMediaType:
      return "Unsupported Media Type";
    case HttpCode::kExpectationFailed:
      return "Expectation Failed";
    case HttpCode::kMisdirected:
      return "Misdirected Request";
    case HttpCode::kTooManyRequests:
      return "Too Many Requests";
    case HttpCode::kHeadersTooLarge:
      return "Request Header Fields Too Large";
    case HttpCode::kInternalError:
      return "Internal Server Error";
    case HttpCode::kNotImplemented:
      return "Not Implemented";
    case HttpCode::kUnavailable:
      return "Service Unavailable";
    case HttpCode::kGatewayTimeout:
      return "Gateway Timeout";
    case HttpCode::kVersionNotSupported:
      return "HTTP Version Not Supported";
  }
  return "Unknown";
}

bool IsClientError(HttpCode code) {
  return code >= HttpCode::kBadRequest && code < HttpCode::kInternalError;
}

HttpResponse ErrorAnswer(const absl::Status& status) {
  HttpResponse response =
      Error(ToHttpCode(status.code()), absl::StatusCodeToString(status.code()),
            status.message());
  if (response.code == HttpCode::kUnauthorized) {
    response.headers.emplace_back("WWW-Authenticate",
                                  "Bearer realm=\"camherd\"");
  }
  if (const std::optional<absl::Duration> delay = RetryDelay(status)) {
    response.headers.emplace_back(
        "Retry-After", absl::StrCat(static_cast<int64_t>(std::ceil(
                           std::max(0.0, absl::ToDoubleSeconds(*delay))))));
  }
  return response;
}

HttpResponse ErrorAnswer(HttpCode code, absl::string_view message) {
  return Error(code, StatusName(code), message);
}

}  // namespace camherd::gateway
