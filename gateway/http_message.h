// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "gateway/caller.h"
#include "gateway/live_body.h"

namespace camherd::gateway {

// The HTTP codes this server answers with (RFC 9110 §15).
enum class HttpCode {
  kOk = 200,
  kCreated = 201,
  kAccepted = 202,
  kNoContent = 204,
  kNotModified = 304,
  kBadRequest = 400,
  kUnauthorized = 401,
  kForbidden = 403,
  kNotFound = 404,
  kMethodNotAllowed = 405,
  kRequestTimeout = 408,
  kConflict = 409,
  kContentTooLarge = 413,
  kUriTooLong = 414,
  kUnsupportedMediaType = 415,
  kExpectationFailed = 417,
  kMisdirected = 421,
  kTooManyRequests = 429,
  kHeadersTooLarge = 431,
  kInternalError = 500,
  kNotImplemented = 501,
  kUnavailable = 503,
  kGatewayTimeout = 504,
  kVersionNotSupported = 505,
};

using Fields = std::vector<std::pair<std::string, std::string>>;

// A whole request, as the front accepted it. Everything in it is checked for
// form (request_parser.h), nothing for meaning.
struct HttpRequest {
  std::string method;
  // The client speaks HTTP/1.0.
  bool is_http_1_0 = false;
  // The connection stays open for another request after the answer.
  bool keep_alive = false;
  // Percent-decoded; begins with "/"; no control characters.
  std::string path;
  // As sent, without "?"; may hold secrets, so it is never logged.
  std::string query;
  // Names in lower case; values trimmed.
  Fields headers;
  std::string body;
  // It came through our own TLS.
  bool is_tls = false;
  // Address of the peer, without port.
  std::string peer;
  // Who sent it: filled in by HttpServer.
  Caller caller;
  // The route's template, such as "/api/v1/streams/{stream}", and what stands
  // in its braces, in order.
  std::string route;
  std::vector<std::string> path_values;

  // The value of the first header of that lower-case name, or "".
  absl::string_view Header(absl::string_view name) const {
    for (const auto& [key, value] : headers) {
      if (key == name) return value;
    }
    return "";
  }
  bool HasHeader(absl::string_view name) const {
    for (const auto& header : headers) {
      if (header.first == name) return true;
    }
    return false;
  }
};

struct HttpResponse {
  HttpCode code = HttpCode::kOk;
  std::string content_type = {};
  std::string body = {};
  // Further headers. Content-Length, Connection, Date and the security headers
  // are added by the server; what is given here wins over the latter.
  Fields headers = {};
  // An answer that is sent as it is made: gives the next piece of the body, ""
  // at the end. An error breaks the connection off. Only on routes that are
  // `as_made`, with `body` empty; it is called until its end or until the peer
  // has gone.
  std::function<absl::StatusOr<std::string>()> next_piece = nullptr;
  // An answer that goes on for as long as its reader stays. Only on routes that
  // are `as_made`, with `body` empty. shared_ptr: who makes it wakes it.
  std::shared_ptr<LiveBody> live = nullptr;
};

// The headers every answer carries: no sniffing, no frames, and a
// Content-Security-Policy that allows nothing but our own files and pictures
// in data URIs. `style_hash` ("sha256-...", may be empty) allows one style
// sheet written into the page itself.
Fields SecurityHeaders(absl::string_view style_hash = "");

// How the end of an answer's body is known.
enum class Framing { kLength, kChunks, kClose };

// The bytes of the head of an answer, which ends its connection unless
// `keep_alive`.
std::string SerializeHead(const HttpResponse& response, Framing framing,
                          bool keep_alive = false);

// A piece of a body in chunks (RFC 9112 §7.1); "" ends it.
std::string Chunk(absl::string_view piece);

// The bytes of an answer, which ends its connection unless `keep_alive`.
// `head_only`: the answer to HEAD. Characters that would break a header line
// are dropped.
std::string Serialize(const HttpResponse& response, bool head_only,
                      bool keep_alive = false);

}  // namespace camherd::gateway
