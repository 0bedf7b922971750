// SPDX-License-Identifier: Apache-2.0
// Input: a digit that picks the message, then the JSON.
#include "absl/strings/str_cat.h"
#include "gateway/request_fields.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/request_messages.h"

namespace camherd::fuzz {
namespace {

// Returns what was read, or null.
std::unique_ptr<google::protobuf::Message> Read(const RequestKind& kind,
                                                std::string body) {
  gateway::HttpRequest request;
  request.headers = {{"content-type", "application/json"}};
  request.body = std::move(body);
  std::unique_ptr<google::protobuf::Message> message = kind.New();
  std::set<std::string> given;
  const absl::Status status =
      gateway::ReadBody(request, kind.rules, message.get(), &given);
  if (!status.ok()) {
    PromiseGoodRefusal(status);
    return nullptr;
  }
  for (const std::string& name : given) {
    Promise(message->GetDescriptor()->FindFieldByName(name) != nullptr,
            "what was given is a field", name);
  }
  return message;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  absl::string_view text = Text(data, size);
  if (text.empty() || absl::StrContains(text, kCanary)) return -1;
  const RequestKind& kind = KindOf(text[0]);
  text.remove_prefix(1);
  if (const auto message = Read(kind, std::string(text))) {
    PromiseGoodMessage(*message);
  }
  // Beside secrets nothing that is wrong brings them out.
  if (text.empty() || text[0] != '{') return 0;
  text.remove_prefix(1);
  for (const absl::string_view secrets :
       {R"({"user":"S3cr3tCanary","password":"S3cr3tCanary",)",
        R"({"password":["S3cr3tCanary"],)", R"({"token":"S3cr3tCanary",)",
        R"({"rtsp_url":"rtsp://u:S3cr3tCanary@h/",)",
        R"({"detect_url":{"x":"S3cr3tCanary"},)"}) {
    Read(kind, absl::StrCat(secrets, text));
  }
  return 0;
}

}  // namespace camherd::fuzz
