// SPDX-License-Identifier: Apache-2.0
#include "gateway/request_parser.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "services/common/utf8.h"

namespace camherd::gateway {
namespace {

// RFC 9110 §5.6.2.
bool IsTokenChar(char c) {
  return absl::ascii_isalnum(static_cast<unsigned char>(c)) ||
         absl::StrContains("!#$%&'*+-.^_`|~", absl::string_view(&c, 1));
}

bool IsToken(absl::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), IsTokenChar);
}

// What a person sent, in a form fit for an error message.
std::string Shown(absl::string_view text) {
  return absl::StrCat("\"", absl::CHexEscape(text.substr(0, 64)),
                      text.size() > 64 ? "..." : "", "\"");
}

Refusal Bad(const char* reason, std::string message) {
  return {HttpCode::kBadRequest, reason, std::move(message)};
}

std::optional<Refusal> ParseRequestLine(absl::string_view line,
                                        HttpRequest* request) {
  const std::vector<absl::string_view> parts = absl::StrSplit(line, ' ');
  if (parts.size() != 3) {
    return Bad("bad_request",
               "the request line must be \"METHOD /path HTTP/1.1\"");
  }
  const absl::string_view target = parts[1];
  const absl::string_view version = parts[2];
  if (version != "HTTP/1.1" && version != "HTTP/1.0") {
    if (absl::StartsWith(version, "HTTP/")) {
      return Refusal{
          HttpCode::kVersionNotSupported, "version",
          absl::StrCat("the HTTP version must be HTTP/1.1 or HTTP/1.0, got ",
                       Shown(version))};
    }
    return Bad("bad_request",
               "the request line must be \"METHOD /path HTTP/1.1\"");
  }
  static const auto& methods = *new absl::flat_hash_set<absl::string_view>{
      "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"};
  if (!methods.contains(parts[0])) {
    return Refusal{HttpCode::kNotImplemented, "method",
                   absl::StrCat("unknown method ", Shown(parts[0]))};
  }
  request->method = std::string(parts[0]);
  request->is_http_1_0 = version == "HTTP/1.0";
  if (target.size() > kMaxTargetBytes) {
    return Refusal{
        HttpCode::kUriTooLong, "bad_target",
        absl::StrCat("the request target must be at most ", kMaxTargetBytes,
                     " bytes, got ", target.size())};
  }
  if (target.empty() || target[0] != '/') {
    return Bad("bad_target", "the request target must begin with \"/\"");
  }
  for (const char c : target) {
    if (c <= 0x20 || c >= 0x7f || c == '#') {
      return Bad("bad_target",
                 "the request target must be percent-encoded ASCII");
    }
  }
  const size_t question = target.find('?');
  const absl::string_view raw_path = target.substr(0, question);
  if (raw_path.size() > kMaxPathBytes) {
    return Refusal{HttpCode::kUriTooLong, "bad_target",
                   absl::StrCat("the path must be at most ", kMaxPathBytes,
                                " bytes, got ", raw_path.size())};
  }
  if (absl::StrContains(absl::AsciiStrToLower(raw_path), "%2f")) {
    return Bad("bad_target", "the path must not hold an encoded \"/\"");
  }
  absl::StatusOr<std::string> path = PercentDecode(raw_path, false);
  if (!path.ok()) {
    return Bad("bad_target", std::string(path.status().message()));
  }
  for (const char c : *path) {
    if (absl::ascii_iscntrl(static_cast<unsigned char>(c))) {
      return Bad("bad_target", "the path must not hold control characters");
    }
  }
  if (!IsUtf8(*path)) return Bad("bad_target", "the path must be UTF-8");
  request->path = *std::move(path);
  if (question != absl::string_view::npos) {
    request->query = std::string(target.substr(question + 1));
    if (const auto query = PercentDecode(request->query, true); !query.ok()) {
      return Bad("bad_target", std::string(query.status().message()));
    }
  }
  return std::nullopt;
}

std::optional<Refusal> ParseHeaderLine(absl::string_view line,
                                       HttpRequest* request) {
  if (line[0] == ' ' || line[0] == '\t') {
    return Bad("bad_header", "a header must not be folded over lines");
  }
  const size_t colon = line.find(':');
  const absl::string_view name = line.substr(0, colon);
  if (colon == absl::string_view::npos || !IsToken(name)) {
    return Bad("bad_header",
               "a header must be \"Name: value\" without spaces in its name");
  }
  const std::string key = absl::AsciiStrToLower(name);
  // The library behind us writes the peer's address into headers of these
  // names; nobody else may.
  if (absl::StartsWith(key, "remote_") || absl::StartsWith(key, "local_")) {
    return Bad("bad_header",
               absl::StrCat("the header ", Shown(name), " is not allowed"));
  }
  const absl::string_view value =
      absl::StripAsciiWhitespace(line.substr(colon + 1));
  for (const char c : line.substr(colon + 1)) {
    const auto byte = static_cast<unsigned char>(c);
    if ((byte < 0x20 && c != '\t') || byte == 0x7f) {
      return Bad("bad_header",
                 absl::StrCat("the header ", Shown(name),
                              " must not hold control characters"));
    }
  }
  // Headers that decide what is read or who is meant must be said once.
  static const auto& once = *new absl::flat_hash_set<absl::string_view>{
      "host",   "content-length", "content-type",   "transfer-encoding",
      "origin", "expect",         "sec-fetch-site", "authorization"};
  if (once.contains(key) && request->HasHeader(key)) {
    return Bad(key == "content-length" ? "bad_length" : "bad_header",
               absl::StrCat("the header ", Shown(name),
                            " must not be given more than once"));
  }
  request->headers.emplace_back(key, std::string(value));
  return std::nullopt;
}

std::optional<Refusal> CheckBodyHeaders(RequestHead* head) {
  const HttpRequest& request = head->request;
  if (request.HasHeader("transfer-encoding")) {
    return Refusal{HttpCode::kNotImplemented, "transfer_encoding",
                   "Transfer-Encoding is not supported; send Content-Length"};
  }
  if (request.HasHeader("content-encoding") &&
      !absl::EqualsIgnoreCase(request.Header("content-encoding"), "identity")) {
    return Refusal{HttpCode::kUnsupportedMediaType, "content_encoding",
                   "Content-Encoding is not supported; send the body as it is"};
  }
  if (request.HasHeader("content-length")) {
    const absl::string_view length = request.Header("content-length");
    if (length.empty() ||
        !std::all_of(length.begin(), length.end(), absl::ascii_isdigit)) {
      return Bad("bad_length",
                 absl::StrCat("Content-Length must be a number of bytes, got ",
                              Shown(length)));
    }
    if (!absl::SimpleAtoi(length, &head->content_length)) {
      return Refusal{HttpCode::kContentTooLarge, "body_too_large",
                     absl::StrCat("the body is too large: ", Shown(length))};
    }
  }
  const bool takes_body = request.method == "POST" || request.method == "PUT" ||
                          request.method == "PATCH";
  if (head->content_length > 0 && !takes_body) {
    return Bad("bad_length",
               absl::StrCat(request.method, " must not have a body"));
  }
  if (request.HasHeader("expect")) {
    if (!absl::EqualsIgnoreCase(request.Header("expect"), "100-continue")) {
      return Refusal{HttpCode::kExpectationFailed, "expect",
                     "Expect must be 100-continue"};
    }
    head->expect_continue = head->content_length > 0;
  }
  return std::nullopt;
}

// RFC 9112 §9.6.
bool AsksToClose(const HttpRequest& request) {
  for (const auto& [name, value] : request.headers) {
    if (name != "connection") continue;
    for (const absl::string_view option : absl::StrSplit(value, ',')) {
      if (absl::EqualsIgnoreCase(absl::StripAsciiWhitespace(option), "close")) {
        return true;
      }
    }
  }
  return false;
}

int HexValue(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

absl::Status CheckHeadSoFar(absl::string_view bytes, size_t checked) {
  for (size_t i = checked; i < bytes.size(); ++i) {
    const char c = bytes[i];
    if (c == '\0') return absl::InvalidArgumentError("a NUL byte in the head");
    if (c == '\n' && (i == 0 || bytes[i - 1] != '\r')) {
      return absl::InvalidArgumentError("lines must end with CR LF");
    }
    if (i > 0 && bytes[i - 1] == '\r' && c != '\n') {
      return absl::InvalidArgumentError("a CR without LF in the head");
    }
  }
  if (!bytes.empty() &&
      !absl::ascii_isalpha(static_cast<unsigned char>(bytes[0]))) {
    return absl::InvalidArgumentError(
        "this port speaks HTTP; a request begins with a method");
  }
  return absl::OkStatus();
}

std::variant<RequestHead, Refusal> ParseHead(absl::string_view head) {
  if (const absl::Status status = CheckHeadSoFar(head); !status.ok()) {
    return Bad("bad_request", std::string(status.message()));
  }
  RequestHead result;
  head.remove_suffix(4);
  size_t count = 0;
  bool first = true;
  for (const absl::string_view line : absl::StrSplit(head, "\r\n")) {
    std::optional<Refusal> refusal;
    if (first) {
      refusal = ParseRequestLine(line, &result.request);
      first = false;
    } else if (++count > kMaxHeaders) {
      refusal = Refusal{HttpCode::kHeadersTooLarge, "head_too_large",
                        absl::StrCat("a request must have at most ",
                                     kMaxHeaders, " headers")};
    } else {
      refusal = ParseHeaderLine(line, &result.request);
    }
    if (refusal.has_value()) return *std::move(refusal);
  }
  if (!result.request.HasHeader("host") &&
      absl::EndsWith(head.substr(0, head.find('\r')), "1.1")) {
    return Bad("bad_header", "the header Host is missing");
  }
  if (std::optional<Refusal> refusal = CheckBodyHeaders(&result)) {
    return *std::move(refusal);
  }
  result.request.keep_alive =
      !result.request.is_http_1_0 && !AsksToClose(result.request);
  return result;
}

absl::StatusOr<std::string> PercentDecode(absl::string_view text,
                                          bool plus_is_space) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '+' && plus_is_space) {
      out.push_back(' ');
    } else if (text[i] != '%') {
      if (text[i] == '\0') return absl::InvalidArgumentError("a NUL byte");
      out.push_back(text[i]);
    } else {
      const int high = i + 2 < text.size() ? HexValue(text[i + 1]) : -1;
      const int low = i + 2 < text.size() ? HexValue(text[i + 2]) : -1;
      if (high < 0 || low < 0) {
        return absl::InvalidArgumentError(
            "a \"%\" must be followed by two hexadecimal digits");
      }
      if (high == 0 && low == 0) {
        return absl::InvalidArgumentError("\"%00\" is not allowed");
      }
      out.push_back(static_cast<char>(high * 16 + low));
      i += 2;
    }
  }
  return out;
}

std::string PercentEncodePath(absl::string_view path) {
  static constexpr char kHex[] = "0123456789ABCDEF";
  std::string out;
  out.reserve(path.size());
  for (const char c : path) {
    const auto byte = static_cast<unsigned char>(c);
    if (absl::ascii_isalnum(byte) ||
        absl::StrContains("-._~/", absl::string_view(&c, 1))) {
      out.push_back(c);
    } else {
      out.push_back('%');
      out.push_back(kHex[byte >> 4]);
      out.push_back(kHex[byte & 15]);
    }
  }
  return out;
}

absl::StatusOr<Fields> ParseForm(absl::string_view text) {
  Fields fields;
  absl::flat_hash_set<std::string> names;
  for (const absl::string_view part :
       absl::StrSplit(text, '&', absl::SkipEmpty())) {
    if (fields.size() == 64) {
      return absl::InvalidArgumentError("more than 64 fields");
    }
    const std::pair<absl::string_view, absl::string_view> pair =
        absl::StrSplit(part, absl::MaxSplits('=', 1));
    absl::StatusOr<std::string> name = PercentDecode(pair.first, true);
    if (!name.ok()) return name.status();
    absl::StatusOr<std::string> value = PercentDecode(pair.second, true);
    if (!value.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat(Shown(*name), ": ", value.status().message()));
    }
    if (!IsUtf8(*name) || !IsUtf8(*value)) {
      return absl::InvalidArgumentError("fields must be UTF-8");
    }
    if (!names.insert(*name).second) {
      return absl::InvalidArgumentError(
          absl::StrCat("the field ", Shown(*name), " is given twice"));
    }
    fields.emplace_back(*std::move(name), *std::move(value));
  }
  return fields;
}

std::string HostOf(absl::string_view authority) {
  absl::string_view host = authority;
  absl::string_view port;
  if (absl::StartsWith(host, "[")) {
    const size_t end = host.find(']');
    if (end == absl::string_view::npos) return "";
    port = host.substr(end + 1);
    host = host.substr(1, end - 1);
    if (!port.empty() && port[0] != ':') return "";
    if (!port.empty()) port.remove_prefix(1);
  } else {
    const size_t colon = host.find(':');
    if (colon != absl::string_view::npos) {
      port = host.substr(colon + 1);
      host = host.substr(0, colon);
    }
  }
  if (port.size() > 5 ||
      !std::all_of(port.begin(), port.end(), absl::ascii_isdigit)) {
    return "";
  }
  for (const char c : host) {
    if (!absl::ascii_isalnum(static_cast<unsigned char>(c)) && c != '.' &&
        c != '-' && c != ':' && c != '_') {
      return "";
    }
  }
  return absl::AsciiStrToLower(host);
}

}  // namespace camherd::gateway
