// SPDX-License-Identifier: Apache-2.0
#include "services/common/config_section.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "services/common/status_macros.h"

namespace camherd {
namespace {

bool IsSecret(absl::string_view key) {
  for (const absl::string_view word :
       {"token", "password", "secret", "credential"}) {
    if (absl::StrContains(key, word)) return true;
  }
  return false;
}

std::string Quoted(absl::string_view value) {
  constexpr size_t kMax = 100;
  return absl::StrCat("\"", absl::CHexEscape(value.substr(0, kMax)),
                      value.size() > kMax ? "...\"" : "\"");
}

std::string Number(double value) {
  if (value == std::floor(value) && std::abs(value) < 1e15) {
    return absl::StrCat(static_cast<int64_t>(value));
  }
  return absl::StrCat(value);
}

}  // namespace

const ConfigSection::Value* ConfigSection::Find(absl::string_view key) {
  asked_[std::string(key)] = true;
  const auto it = values_.find(std::string(key));
  if (it == values_.end()) return nullptr;
  const Value& value = it->second;
  // A key without a value stands for its default.
  return value.items.empty() && !value.is_list ? nullptr : &value;
}

void ConfigSection::Note(absl::string_view key, absl::string_view value) {
  effective_.push_back(
      absl::StrCat(key, "=", IsSecret(key) && !value.empty() ? "***" : value));
}

void ConfigSection::Fail(absl::string_view key, absl::string_view message) {
  if (!status_.ok()) return;
  if (IsSecret(key)) message = message.substr(0, message.find(", got "));
  const auto it = values_.find(std::string(key));
  status_ = absl::InvalidArgumentError(absl::StrCat(
      it == values_.end() ? "" : absl::StrCat(it->second.where, ": "), name_,
      ".", key, " ", message));
}

std::string ConfigSection::String(absl::string_view key,
                                  absl::string_view fallback) {
  std::string result(fallback);
  if (const Value* value = Find(key)) {
    if (value->is_list) {
      Fail(key, "must be one value, got a list");
    } else {
      result = value->items.front();
    }
  }
  Note(key, result);
  return result;
}

bool ConfigSection::Bool(absl::string_view key, bool fallback) {
  bool result = fallback;
  if (const Value* value = Find(key)) {
    const std::string text =
        value->is_list ? "" : absl::AsciiStrToLower(value->items.front());
    if (value->is_list) {
      Fail(key, "must be true or false, got a list");
    } else if (text != "true" && text != "false") {
      Fail(key, absl::StrCat("must be true or false, got ",
                             Quoted(value->items.front())));
    }
    result = text == "true";
  }
  Note(key, result ? "true" : "false");
  return result;
}

int64_t ConfigSection::Int(absl::string_view key, int64_t fallback, int64_t min,
                           int64_t max) {
  int64_t result = fallback;
  if (const Value* value = Find(key)) {
    if (value->is_list) {
      Fail(key, "must be a whole number, got a list");
    } else if (!absl::SimpleAtoi(value->items.front(), &result)) {
      Fail(key, absl::StrCat("must be a whole number in [", min, ", ", max,
                             "], got ", Quoted(value->items.front())));
    } else if (result < min || result > max) {
      Fail(key,
           absl::StrCat("must be in [", min, ", ", max, "], got ", result));
    }
  }
  Note(key, absl::StrCat(result));
  return result;
}

double ConfigSection::Double(absl::string_view key, double fallback, double min,
                             double max) {
  double result = fallback;
  if (const Value* value = Find(key)) {
    const std::string range =
        absl::StrCat("[", Number(min), ", ", Number(max), "]");
    if (value->is_list) {
      Fail(key, "must be a number, got a list");
    } else if (!absl::SimpleAtod(value->items.front(), &result)) {
      Fail(key, absl::StrCat("must be a number in ", range, ", got ",
                             Quoted(value->items.front())));
    } else if (!(result >= min && result <= max)) {  // Also NaN.
      Fail(key,
           absl::StrCat("must be in ", range, ", got ", value->items.front()));
    }
  }
  Note(key, Number(result));
  return result;
}

absl::Duration ConfigSection::Seconds(absl::string_view key, double fallback,
                                      double min, double max) {
  return absl::Seconds(Double(key, fallback, min, max));
}

int64_t ConfigSection::Bytes(absl::string_view key, int64_t fallback,
                             int64_t min, int64_t max) {
  int64_t result = fallback;
  if (const Value* value = Find(key)) {
    if (value->is_list) {
      Fail(key, "must be a number of bytes, got a list");
    } else {
      absl::string_view text = absl::StripAsciiWhitespace(value->items.front());
      double unit = 1;
      if (absl::ConsumeSuffix(&text, "KiB")) {
        unit = 1024.0;
      } else if (absl::ConsumeSuffix(&text, "MiB")) {
        unit = 1024.0 * 1024;
      } else if (absl::ConsumeSuffix(&text, "GiB")) {
        unit = 1024.0 * 1024 * 1024;
      } else if (absl::ConsumeSuffix(&text, "TiB")) {
        unit = 1024.0 * 1024 * 1024 * 1024;
      }
      double number = 0;
      if (!absl::SimpleAtod(text, &number) || !std::isfinite(number)) {
        Fail(key, absl::StrCat("must be a number of bytes, or one with KiB, "
                               "MiB, GiB or TiB, got ",
                               Quoted(value->items.front())));
      } else if (number * unit < static_cast<double>(min) ||
                 number * unit > static_cast<double>(max)) {
        Fail(key, absl::StrCat("must be in [", min, ", ", max, "] bytes, got ",
                               value->items.front()));
      } else {
        result = static_cast<int64_t>(number * unit);
      }
    }
  }
  Note(key, absl::StrCat(result));
  return result;
}

std::vector<std::string> ConfigSection::List(
    absl::string_view key, const std::vector<std::string>& fallback) {
  std::vector<std::string> result = fallback;
  if (const Value* value = Find(key)) {
    result = value->items;
    if (!value->is_list && absl::StartsWith(value->where, "$")) {
      result.clear();
      for (const absl::string_view item :
           absl::StrSplit(value->items.front(), ',')) {
        const absl::string_view stripped = absl::StripAsciiWhitespace(item);
        if (!stripped.empty()) result.emplace_back(stripped);
      }
    }
  }
  Note(key, absl::StrJoin(result, ","));
  return result;
}

std::string ConfigSection::Choice(absl::string_view key,
                                  absl::string_view fallback,
                                  const std::vector<std::string>& choices) {
  std::string result(fallback);
  if (const Value* value = Find(key)) {
    const std::string names =
        absl::StrCat("must be one of [", absl::StrJoin(choices, ", "), "]");
    if (value->is_list) {
      Fail(key, absl::StrCat(names, ", got a list"));
    } else {
      result = value->items.front();
      if (std::find(choices.begin(), choices.end(), result) == choices.end()) {
        Fail(key, absl::StrCat(names, ", got ", Quoted(result)));
      }
    }
  }
  Note(key, result);
  return result;
}

absl::Status ConfigSection::Finish() {
  CAMHERD_RETURN_IF_ERROR(status_);
  for (const auto& [key, value] : values_) {
    if (asked_.contains(key)) continue;
    std::vector<std::string> known;
    for (const auto& [name, unused] : asked_) known.push_back(name);
    return absl::InvalidArgumentError(
        absl::StrCat(value.where, ": unknown key ", name_, ".", key,
                     "; known are [", absl::StrJoin(known, ", "), "]"));
  }
  return absl::OkStatus();
}

}  // namespace camherd
