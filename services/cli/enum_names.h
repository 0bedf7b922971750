// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "google/protobuf/generated_enum_reflection.h"
#include "services/cli/exit_code.h"
#include "services/common/proto_json.h"

// Enum values by the names that JSON has for them: "auth_failed".
namespace camherd::cli {

// A number that is none of the enum's is "?".
template <typename Enum>
std::string NameOf(Enum value) {
  const auto* found =
      google::protobuf::GetEnumDescriptor<Enum>()->FindValueByNumber(value);
  return found == nullptr ? "?" : EnumText(*found);
}

// All names but that of the unspecified value.
template <typename Enum>
std::vector<std::string> NamesOf() {
  const auto* type = google::protobuf::GetEnumDescriptor<Enum>();
  std::vector<std::string> names;
  for (int i = 0; i < type->value_count(); ++i) {
    if (type->value(i)->number() != 0) {
      names.push_back(EnumText(*type->value(i)));
    }
  }
  return names;
}

// WrongUsage, naming `field` and the choices.
template <typename Enum>
absl::StatusOr<Enum> EnumOf(absl::string_view field, absl::string_view name) {
  const auto* type = google::protobuf::GetEnumDescriptor<Enum>();
  for (int i = 0; i < type->value_count(); ++i) {
    if (type->value(i)->number() != 0 && EnumText(*type->value(i)) == name) {
      return static_cast<Enum>(type->value(i)->number());
    }
  }
  return WrongUsage(absl::StrCat(field, " must be one of [",
                                 absl::StrJoin(NamesOf<Enum>(), ", "),
                                 "], got \"", name, "\""));
}

}  // namespace camherd::cli
