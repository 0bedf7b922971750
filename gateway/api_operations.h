// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "gateway/http_message.h"
#include "google/protobuf/descriptor.h"
#include "services/common/proto_json.h"

namespace camherd::gateway {

// An answer that is no error.
struct ApiAnswer {
  HttpCode code = HttpCode::kOk;
  const char* description = "";
  // None for an answer without a body.
  const char* content_type = "application/json";
  // Of JSON: the message, and the fields of one, as JSON too; what they do not
  // name is shown as zero or null.
  const google::protobuf::Descriptor* message = nullptr;
  std::string example = {};
};

// What openapi.json says of one row of the table of routes, beyond what the
// messages say of themselves.
struct ApiOperation {
  const char* method = "";
  const char* path = "";
  const char* tag = "";
  const char* summary = "";
  const char* details = "";
  // The message whose fields the query holds, and what else it may.
  const google::protobuf::Descriptor* query = nullptr;
  FieldRules query_rules = {};
  // The message whose fields the body holds, as JSON or form.
  const google::protobuf::Descriptor* body = nullptr;
  FieldRules body_rules = {};
  // Fields that must be given, in query or body.
  std::vector<std::string> required = {};
  // Of a body that is no message: its type, such as "image/jpeg".
  const char* body_type = nullptr;
  // A body that is right.
  std::string body_example = {};
  std::vector<ApiAnswer> answers = {};
  // The error codes it has besides those of every route.
  std::vector<HttpCode> errors = {};
  // Its errors are HTML, except those that come before its handler.
  bool html_errors = false;
};

// One for each route but those of the page's files.
const std::vector<ApiOperation>& ApiOperations();

// The error codes that any route can answer: bad requests, foreign hosts and
// pages, limits of the socket, too much to do.
const std::vector<HttpCode>& CommonErrors();

}  // namespace camherd::gateway
