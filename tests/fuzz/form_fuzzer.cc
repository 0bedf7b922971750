// SPDX-License-Identifier: Apache-2.0
// Input: a digit that picks the message, then a form or a query string.
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "gateway/request_fields.h"
#include "gateway/request_parser.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/request_messages.h"

namespace camherd::fuzz {
namespace {

void CheckForm(absl::string_view text) {
  const absl::StatusOr<gateway::Fields> fields = gateway::ParseForm(text);
  if (!fields.ok()) return PromiseGoodRefusal(fields.status());
  std::string form;
  for (const auto& [name, value] : *fields) {
    PromiseUtf8(name);
    PromiseUtf8(value);
    absl::StrAppend(&form, gateway::PercentEncodePath(name), "=",
                    gateway::PercentEncodePath(value), "&");
  }
  const absl::StatusOr<gateway::Fields> again = gateway::ParseForm(form);
  Promise(again.ok() && *again == *fields, "fields read as the same", form);
}

// Returns what was read, or null.
std::unique_ptr<google::protobuf::Message> Read(const RequestKind& kind,
                                                std::string text,
                                                bool is_query) {
  gateway::HttpRequest request;
  std::unique_ptr<google::protobuf::Message> message = kind.New();
  absl::Status status;
  if (is_query) {
    request.query = std::move(text);
    status = gateway::ReadQuery(request, kind.rules, message.get());
  } else {
    request.headers = {{"content-type", "application/x-www-form-urlencoded"}};
    request.body = std::move(text);
    status = gateway::ReadBody(request, kind.rules, message.get());
  }
  if (status.ok()) return message;
  PromiseGoodRefusal(status);
  return nullptr;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  absl::string_view text = Text(data, size);
  if (text.empty() || absl::StrContains(text, kCanary)) return -1;
  const RequestKind& kind = KindOf(text[0]);
  text.remove_prefix(1);
  CheckForm(text);
  for (const bool is_query : {false, true}) {
    if (const auto message = Read(kind, std::string(text), is_query)) {
      PromiseGoodMessage(*message);
    }
    // Beside secrets nothing that is wrong brings them out.
    for (const absl::string_view secret :
         {"user=S3cr3tCanary&", "password=S3cr3tCanary&", "token=S3cr3tCanary&",
          "rtsp_url=rtsp://u:S3cr3tCanary@h/&"}) {
      Read(kind, absl::StrCat(secret, text), is_query);
    }
  }
  return 0;
}

}  // namespace camherd::fuzz
