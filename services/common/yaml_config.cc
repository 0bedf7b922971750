#include "services/common/yaml_config.h"

#include <unistd.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "services/common/file.h"
#include "services/common/log.h"
#include "services/common/status_macros.h"

namespace camherd {
namespace {

constexpr size_t kMaxFileBytes = 1 << 20;
constexpr absl::string_view kPrefix = "CAMHERD_";

// Names of the environment that are no overrides.
bool IsReserved(absl::string_view name) {
  return name == "CAMHERD_DATA_DIR" || name == "CAMHERD_WEIGHTS_DIR";
}

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

std::string At(const std::string& path, const YAML::Mark& mark) {
  return absl::StrCat(path, ":", mark.line + 1);
}

bool IsKey(absl::string_view key) {
  return !key.empty() && std::all_of(key.begin(), key.end(), [](char c) {
    return absl::ascii_islower(c) || absl::ascii_isdigit(c) || c == '_';
  });
}

// The items of a scalar, a list of scalars, or null (none).
absl::StatusOr<std::vector<std::string>> Items(const YAML::Node& node,
                                               const std::string& where,
                                               const std::string& name) {
  std::vector<std::string> items;
  if (node.IsScalar()) {
    items.push_back(node.Scalar());
  } else if (node.IsSequence()) {
    for (const YAML::Node& item : node) {
      if (!item.IsScalar()) {
        return absl::InvalidArgumentError(
            absl::StrCat(where, ": ", name, " must be a list of plain values"));
      }
      items.push_back(item.Scalar());
    }
  } else if (!node.IsNull()) {
    return absl::InvalidArgumentError(
        absl::StrCat(where, ": ", name, " must be a plain value or a list"));
  }
  return items;
}

std::string Number(double value) {
  if (value == std::floor(value) && std::abs(value) < 1e15) {
    return absl::StrCat(static_cast<int64_t>(value));
  }
  return absl::StrCat(value);
}

}  // namespace

const std::vector<std::string>& YamlConfig::Sections() {
  static const std::vector<std::string>& sections =
      *new std::vector<std::string>{"common", "capture", "inference",
                                    "aggregator", "gateway"};
  return sections;
}

YamlConfig::Environment YamlConfig::ProcessEnvironment() {
  Environment environment;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    const absl::string_view text = *entry;
    const size_t equals = text.find('=');
    if (equals == absl::string_view::npos) continue;
    environment.emplace(text.substr(0, equals), text.substr(equals + 1));
  }
  return environment;
}

absl::StatusOr<YamlConfig> YamlConfig::Load(const std::string& path,
                                            const Environment& environment) {
  YamlConfig config;
  config.path_ = path;
  config.environment_ = environment;
  const std::vector<std::string>& known = Sections();
  if (!path.empty()) {
    CAMHERD_ASSIGN_OR_RETURN(const std::string text,
                             ReadFile(path, kMaxFileBytes));
    std::vector<YAML::Node> documents;
    try {
      documents = YAML::LoadAll(text);
    } catch (const YAML::Exception& error) {
      return absl::InvalidArgumentError(
          absl::StrCat(At(path, error.mark), ": not YAML: ", error.msg));
    }
    if (documents.size() > 1) {
      return absl::InvalidArgumentError(absl::StrCat(
          path, " must be one YAML document, got ", documents.size()));
    }
    const YAML::Node root = documents.empty() ? YAML::Node() : documents[0];
    if (!root.IsNull() && !root.IsMap()) {
      return absl::InvalidArgumentError(
          absl::StrCat(At(path, root.Mark()),
                       ": the configuration must be a map of sections"));
    }
    for (const auto& entry : root) {
      const std::string where = At(path, entry.first.Mark());
      const std::string name =
          entry.first.IsScalar() ? entry.first.Scalar() : "";
      if (std::find(known.begin(), known.end(), name) == known.end()) {
        return absl::InvalidArgumentError(
            absl::StrCat(where, ": section must be one of [",
                         absl::StrJoin(known, ", "), "], got ", Quoted(name)));
      }
      auto [section, inserted] = config.sections_.try_emplace(name);
      if (!inserted) {
        return absl::InvalidArgumentError(
            absl::StrCat(where, ": section ", name, " is there twice"));
      }
      if (entry.second.IsNull()) continue;
      if (!entry.second.IsMap()) {
        return absl::InvalidArgumentError(
            absl::StrCat(where, ": section ", name, " must be a map of keys"));
      }
      for (const auto& pair : entry.second) {
        Value value;
        value.where = At(path, pair.first.Mark());
        const std::string key =
            pair.first.IsScalar() ? pair.first.Scalar() : "";
        if (!IsKey(key)) {
          return absl::InvalidArgumentError(
              absl::StrCat(value.where, ": a key of section ", name,
                           " must be of lower-case letters, digits and _, got ",
                           Quoted(key)));
        }
        const std::string full = absl::StrCat(name, ".", key);
        CAMHERD_ASSIGN_OR_RETURN(value.items,
                                 Items(pair.second, value.where, full));
        value.is_list = pair.second.IsSequence();
        const auto [it, fresh] = section->second.try_emplace(key, value);
        if (!fresh) {
          return absl::InvalidArgumentError(
              absl::StrCat(value.where, ": ", full,
                           " is there twice, first at ", it->second.where));
        }
      }
    }
  }
  for (const auto& [name, text] : environment) {
    if (!absl::StartsWith(name, kPrefix) || IsReserved(name)) continue;
    const std::string rest = absl::AsciiStrToLower(name.substr(kPrefix.size()));
    bool found = false;
    for (const std::string& section : known) {
      absl::string_view key = rest;
      if (!absl::ConsumePrefix(&key, absl::StrCat(section, "_")) ||
          !IsKey(key)) {
        continue;
      }
      Value value;
      value.items = {text};
      value.where = absl::StrCat("$", name);
      config.sections_[section][std::string(key)] = value;
      found = true;
    }
    if (!found) {
      return absl::InvalidArgumentError(absl::StrCat(
          "$", name, " must be CAMHERD_<SECTION>_<KEY> with a section of [",
          absl::StrJoin(known, ", "), "]"));
    }
  }
  return config;
}

ConfigSection YamlConfig::Section(absl::string_view name) const {
  const std::vector<std::string>& known = Sections();
  if (std::find(known.begin(), known.end(), name) == known.end()) {
    LogFatal("no such configuration section", {{"section", name}});
  }
  ConfigSection section;
  section.name_ = std::string(name);
  const auto it = sections_.find(section.name_);
  if (it != sections_.end()) section.values_ = it->second;
  return section;
}

const YamlConfig::Value* ConfigSection::Find(absl::string_view key) {
  asked_[std::string(key)] = true;
  const auto it = values_.find(std::string(key));
  if (it == values_.end()) return nullptr;
  const YamlConfig::Value& value = it->second;
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
  if (const YamlConfig::Value* value = Find(key)) {
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
  if (const YamlConfig::Value* value = Find(key)) {
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
  if (const YamlConfig::Value* value = Find(key)) {
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
  if (const YamlConfig::Value* value = Find(key)) {
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
  if (const YamlConfig::Value* value = Find(key)) {
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
  if (const YamlConfig::Value* value = Find(key)) {
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
  if (const YamlConfig::Value* value = Find(key)) {
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
