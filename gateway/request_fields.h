// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <set>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gateway/http_message.h"
#include "google/protobuf/message.h"
#include "services/common/proto_json.h"

// A request's fields, wherever they stand. Errors are kInvalidArgument with
// the field's name. Thread-safe.
namespace camherd::gateway {

// The type in Content-Type, in lower case and without parameters; "" without.
std::string MediaType(const HttpRequest& request);

enum class BodyKind { kJson, kForm };

// What the body is, by Content-Type: application/json, or
// application/x-www-form-urlencoded. Without a Content-Type a body that begins
// with "{" is JSON. kInvalidArgument for any other type, and for JSON sent as a
// form (curl -d without -H).
absl::StatusOr<BodyKind> KindOfBody(const HttpRequest& request);

// Reads the body, JSON or form, into `message`. `given` takes the names of the
// fields that were given.
absl::Status ReadBody(const HttpRequest& request, const FieldRules& rules,
                      google::protobuf::Message* message,
                      std::set<std::string>* given = nullptr);

// Reads the query string into `message`.
absl::Status ReadQuery(const HttpRequest& request, const FieldRules& rules,
                       google::protobuf::Message* message);

// kInvalidArgument if the request has a query string: for routes that take
// their fields from the body, or none.
absl::Status NoQuery(const HttpRequest& request);

// A path value that must be a positive number, such as a record id.
absl::StatusOr<int64_t> ReadId(absl::string_view field,
                               absl::string_view value);

}  // namespace camherd::gateway
