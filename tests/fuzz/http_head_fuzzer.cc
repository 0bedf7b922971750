// SPDX-License-Identifier: Apache-2.0
// Input: what a client sends first.
#include <algorithm>
#include <string>
#include <utility>
#include <variant>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gateway/request_fields.h"
#include "gateway/request_parser.h"
#include "tests/fuzz/fuzz.h"

namespace camherd::fuzz {
namespace {

using gateway::HttpRequest;
using gateway::ParseHead;
using gateway::Refusal;
using gateway::RequestHead;

// As a client would send it that has nothing to hide.
std::string Print(const HttpRequest& request) {
  std::string out = absl::StrCat(
      request.method, " ", gateway::PercentEncodePath(request.path),
      request.query.empty() ? "" : "?", request.query,
      request.is_http_1_0 ? " HTTP/1.0\r\n" : " HTTP/1.1\r\n");
  for (const auto& [name, value] : request.headers) {
    absl::StrAppend(&out, name, ": ", value, "\r\n");
  }
  return out + "\r\n";
}

void CheckRefusal(const Refusal& refusal) {
  PromisePrintable(refusal.message);
  Promise(!refusal.message.empty() && *refusal.reason != '\0',
          "a refusal says why");
  Promise(refusal.message.size() < 400, "a message is short", refusal.message);
}

void CheckAccepted(const RequestHead& head) {
  const HttpRequest& request = head.request;
  Promise(!request.path.empty() && request.path[0] == '/',
          "a path begins with /", request.path);
  PromiseUtf8(request.path);
  PromisePrintable(request.query);
  for (const char c : request.path) {
    Promise(!absl::ascii_iscntrl(static_cast<unsigned char>(c)),
            "a path has no control characters", request.path);
  }
  Promise(request.headers.size() <= gateway::kMaxHeaders,
          "headers are counted");
  size_t hosts = 0;
  size_t lengths = 0;
  for (const auto& [name, value] : request.headers) {
    PromisePrintable(name);
    Promise(!name.empty() && name == absl::AsciiStrToLower(name) &&
                name.find_first_of(" :") == std::string::npos,
            "a header's name is a lower-case token", name);
    Promise(absl::string_view(value).find_first_of(
                absl::string_view("\r\n\0", 3)) == absl::string_view::npos,
            "a header is one line", value);
    Promise(name != "transfer-encoding", "bodies have a length");
    hosts += name == "host" ? 1 : 0;
    lengths += name == "content-length" ? 1 : 0;
  }
  Promise(hosts <= 1 && lengths <= 1 && (request.is_http_1_0 || hosts == 1),
          "who is meant and how much is read is said once");
  Promise(lengths == 1 || head.content_length == 0, "a body has its length");
  Promise(!head.expect_continue || head.content_length > 0,
          "only a body is waited for");
  PromisePrintable(gateway::HostOf(request.Header("host")));
  gateway::MediaType(request);

  const std::string printed = Print(request);
  const size_t target =
      printed.find(' ', request.method.size() + 1) - request.method.size() - 1;
  // What is encoded needs more room.
  if (target > gateway::kMaxPathBytes) return;
  const auto again = ParseHead(printed);
  const auto* const same = std::get_if<RequestHead>(&again);
  Promise(same != nullptr, "a head parses again", printed);
  Promise(same->request.method == request.method &&
              same->request.path == request.path &&
              same->request.query == request.query &&
              same->request.headers == request.headers &&
              same->request.is_http_1_0 == request.is_http_1_0 &&
              same->request.keep_alive == request.keep_alive &&
              same->content_length == head.content_length &&
              same->expect_continue == head.expect_continue,
          "a head parses again as the same", printed);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  absl::string_view text = Text(data, size);
  if (absl::StrContains(text, kCanary)) return -1;

  // In whatever pieces it comes, it is judged as a whole.
  const bool good = gateway::CheckHeadSoFar(text).ok();
  size_t checked = 0;
  bool good_so_far = true;
  for (size_t part = 1; good_so_far && checked < text.size(); part *= 2) {
    const size_t next = std::min(text.size(), checked + part);
    good_so_far = gateway::CheckHeadSoFar(text.substr(0, next), checked).ok();
    checked = next;
  }
  Promise(good == good_so_far, "a head is judged as a whole", text);

  const size_t end = text.find("\r\n\r\n");
  if (end == absl::string_view::npos) return 0;
  const std::string head(text.substr(0, end + 4));
  const auto parsed = ParseHead(head);
  if (const auto* const accepted = std::get_if<RequestHead>(&parsed)) {
    CheckAccepted(*accepted);
  } else {
    CheckRefusal(std::get<Refusal>(parsed));
  }

  // What else is wrong brings no secret out of another header.
  const size_t line = head.find("\r\n") + 2;
  const auto secret = ParseHead(absl::StrCat(
      head.substr(0, line), "Authorization: Bearer ", kCanary,
      "\r\nCookie: camherd_session=", kCanary, "\r\n", head.substr(line)));
  if (const auto* const refused = std::get_if<Refusal>(&secret)) {
    PromiseNoCanary(refused->message);
  }
  return 0;
}

}  // namespace camherd::fuzz
