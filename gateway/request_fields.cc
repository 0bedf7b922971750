// SPDX-License-Identifier: Apache-2.0
#include "gateway/request_fields.h"

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gateway/request_parser.h"
#include "services/common/status_macros.h"

namespace camherd::gateway {

std::string MediaType(const HttpRequest& request) {
  return absl::AsciiStrToLower(absl::StripAsciiWhitespace(
      *absl::StrSplit(request.Header("content-type"), ';').begin()));
}

absl::StatusOr<BodyKind> KindOfBody(const HttpRequest& request) {
  const std::string type = MediaType(request);
  const bool looks_like_json =
      absl::StartsWith(absl::StripLeadingAsciiWhitespace(request.body), "{");
  if (type == "application/json") return BodyKind::kJson;
  if (type == "application/x-www-form-urlencoded") {
    if (looks_like_json) {
      return absl::InvalidArgumentError(
          "the body looks like JSON but was sent as a form; send the header "
          "Content-Type: application/json");
    }
    return BodyKind::kForm;
  }
  if (type.empty()) {
    return looks_like_json ? BodyKind::kJson : BodyKind::kForm;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("Content-Type must be application/json or "
                   "application/x-www-form-urlencoded, got \"",
                   absl::CHexEscape(type.substr(0, 64)), "\""));
}

absl::Status ReadBody(const HttpRequest& request, const FieldRules& rules,
                      google::protobuf::Message* message,
                      std::set<std::string>* given) {
  CAMHERD_RETURN_IF_ERROR(NoQuery(request));
  CAMHERD_ASSIGN_OR_RETURN(const BodyKind kind, KindOfBody(request));
  if (kind == BodyKind::kJson) {
    return JsonToProto(request.body, rules, message, given);
  }
  CAMHERD_ASSIGN_OR_RETURN(const Fields fields, ParseForm(request.body));
  return FieldsToProto(fields, rules, message, given);
}

absl::Status ReadQuery(const HttpRequest& request, const FieldRules& rules,
                       google::protobuf::Message* message) {
  CAMHERD_ASSIGN_OR_RETURN(const Fields fields, ParseForm(request.query));
  return FieldsToProto(fields, rules, message);
}

absl::Status NoQuery(const HttpRequest& request) {
  if (request.query.empty()) return absl::OkStatus();
  // Also a matter of secrets: query strings end in histories and logs.
  return absl::InvalidArgumentError(
      "fields belong into the body, not into the query string");
}

absl::StatusOr<int64_t> ReadId(absl::string_view field,
                               absl::string_view value) {
  int64_t id = 0;
  if (value.empty() || !absl::ascii_isdigit(value[0]) ||
      !absl::SimpleAtoi(value, &id) || id <= 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(field, " must be a positive number, got \"",
                     absl::Utf8SafeCEscape(value.substr(0, 64)), "\""));
  }
  return id;
}

}  // namespace camherd::gateway
