// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "camherd/v1/aggregator_service.pb.h"
#include "camherd/v1/capture_service.pb.h"
#include "camherd/v1/gateway.pb.h"
#include "camherd/v1/inference_service.pb.h"
#include "gateway/http_status.h"
#include "gateway/start_fields.h"
#include "services/common/proto_json.h"
#include "tests/fuzz/fuzz.h"

// What bodies and query strings become: the messages, with the rules that the
// routes read them by, and what holds whatever is sent.
namespace camherd::fuzz {

struct RequestKind {
  const google::protobuf::Message* prototype = nullptr;
  FieldRules rules;

  std::unique_ptr<google::protobuf::Message> New() const {
    return std::unique_ptr<google::protobuf::Message>(prototype->New());
  }
};

// `digit` picks one.
inline const RequestKind& KindOf(char digit) {
  static const auto& kinds = *new std::vector<RequestKind>{
      {&v1::StartStreamRequest::default_instance(), gateway::StartRules()},
      {&v1::UpdateStreamRequest::default_instance(), {.hidden = {"stream"}}},
      {&v1::Camera::default_instance(), {}},
      {&v1::ProbeSourceRequest::default_instance(), {}},
      {&v1::PrepareModelRequest::default_instance(), {.hidden = {"name"}}},
      {&v1::LoginRequest::default_instance(), {}},
      {&v1::StopStreamRequest::default_instance(),
       {.aliases = {{"process_name", {.field = "stream"}}}}},
      {&v1::ListStreamsRequest::default_instance(),
       {.aliases = {{"state", {.field = "states"}}}}},
      {&v1::ListRecordsRequest::default_instance(), {}},
      {&v1::GetLatestFrameRequest::default_instance(),
       {.hidden = {"stream"}, .ignored = "v"}}};
  return kinds[static_cast<unsigned char>(digit) % kinds.size()];
}

// What the caller is told of a request that cannot be read.
inline void PromiseGoodRefusal(const absl::Status& status) {
  Promise(absl::IsInvalidArgument(status), "it is the caller's fault",
          status.ToString());
  const gateway::HttpResponse answer = gateway::ErrorAnswer(status);
  PromiseUtf8(answer.body);
  PromiseNoCanary(answer.body);
  PromiseNoCanary(status.message());
}

// `message` was read: it can be sent on, and its JSON reads as the same.
inline void PromiseGoodMessage(const google::protobuf::Message& message) {
  const std::unique_ptr<google::protobuf::Message> again(message.New());
  Promise(again->ParseFromString(message.SerializeAsString()),
          "a message can be sent", message.DebugString());
  const std::string json = ProtoToJson(message);
  PromiseUtf8(json);
  again->Clear();
  const absl::Status status = JsonToProto(json, {}, again.get());
  Promise(status.ok(), "a message's JSON can be read",
          absl::StrCat(json, " ", status.ToString()));
  Promise(ProtoToJson(*again) == json, "JSON reads as the same", json);
}

}  // namespace camherd::fuzz
