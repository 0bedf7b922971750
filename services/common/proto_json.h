// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/message.h"

// Messages as the JSON that people and programs see, and back, by reflection:
// a field added to a message is added to the API.
//
// Out: names as in the .proto (snake_case), zeros and nulls printed, 64-bit
// numbers as numbers, enum values short and lower-case ("auth_failed"), times
// RFC 3339 in UTC, bytes base64. JPEG bytes are left out unless asked for.
//
// In: strict. Every error is kInvalidArgument and names the field as the caller
// wrote it, and the value unless it may be secret.
//
// Thread-safe.
namespace camherd {

// What a request may hold besides the fields of its message.
struct FieldRules {
  struct Alias {
    std::string field;
    // A repeated field that may also be given as one value.
    bool one_value = false;
  };
  // Other names for fields.
  std::map<std::string, Alias> aliases = {};
  // Fields that come from elsewhere, such as the path; unknown here.
  std::vector<std::string> hidden = {};
  // A query field that is let pass and has no meaning; empty: none.
  std::string ignored = {};
};

// `with_pictures`: JPEG bytes as base64 too.
std::string ProtoToJson(const google::protobuf::Message& message,
                        bool with_pictures = false);

// A JSON object into `message`. Refused: what is not JSON, is nested deeper
// than 64, has a key twice, a field that is unknown or given under two names,
// a value of the wrong type or out of the type's range. A field that is null
// counts as left out.
//
// `given`: takes the message's names of the fields that were given, whatever
// their value: an empty list is not a list left out.
absl::Status JsonToProto(absl::string_view json, const FieldRules& rules,
                         google::protobuf::Message* message,
                         std::set<std::string>* given = nullptr);

// Form or query fields into `message`, which for these has no nested messages
// but times. Numbers, true/false and enum names are read strictly; lists are
// of names, separated by commas, none of them empty. `given` as above.
absl::Status FieldsToProto(
    const std::vector<std::pair<std::string, std::string>>& fields,
    const FieldRules& rules, google::protobuf::Message* message,
    std::set<std::string>* given = nullptr);

// A field whose bytes are a JPEG: never read from JSON, shown on demand.
bool IsPicture(const google::protobuf::FieldDescriptor& field);

// A field whose value may be secret: it never enters an error message.
bool IsSecret(absl::string_view name);

// An enum value as JSON shows it: "auth_failed".
std::string EnumText(const google::protobuf::EnumValueDescriptor& value);

// A JSON string literal. Bytes that are no UTF-8 are replaced.
std::string QuoteJson(absl::string_view text);

}  // namespace camherd
