// SPDX-License-Identifier: Apache-2.0
#include "gateway/answers.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "services/common/file.h"
#include "services/common/proto_json.h"

namespace camherd::gateway {
namespace {

// RFC 9110 §13.1.2: weak comparison.
bool MatchesTag(absl::string_view if_none_match, absl::string_view tag) {
  if (if_none_match.empty()) return false;
  for (absl::string_view item : absl::StrSplit(if_none_match, ',')) {
    item = absl::StripAsciiWhitespace(item);
    absl::ConsumePrefix(&item, "W/");
    if (item == tag || item == "*") return true;
  }
  return false;
}

}  // namespace

HttpResponse JsonAnswer(const google::protobuf::Message& message, HttpCode code,
                        bool with_pictures) {
  return {.code = code,
          .content_type = "application/json",
          .body = absl::StrCat(ProtoToJson(message, with_pictures), "\n"),
          .headers = {}};
}

HttpResponse TaggedAnswer(const HttpRequest& request, std::string bytes,
                          absl::string_view content_type,
                          absl::string_view version) {
  const std::string tag =
      absl::StrCat("\"", Sha256Hex(version).substr(0, 32), "\"");
  HttpResponse response;
  response.headers = {
      {"ETag", tag},
      {"Cache-Control", "private, no-cache"},
  };
  if (MatchesTag(request.Header("if-none-match"), tag)) {
    response.code = HttpCode::kNotModified;
    return response;
  }
  response.content_type = std::string(content_type);
  response.body = std::move(bytes);
  return response;
}

HttpResponse JpegAnswer(const HttpRequest& request, std::string jpeg,
                        absl::string_view version) {
  return TaggedAnswer(request, std::move(jpeg), "image/jpeg", version);
}

}  // namespace camherd::gateway
