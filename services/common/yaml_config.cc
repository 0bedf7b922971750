// SPDX-License-Identifier: Apache-2.0
#include "services/common/yaml_config.h"

#include <unistd.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "services/common/file.h"
#include "services/common/log.h"
#include "services/common/status_macros.h"

namespace camherd {
namespace {

using Keys = std::map<std::string, ConfigSection::Value>;

constexpr size_t kMaxFileBytes = 1 << 20;
constexpr absl::string_view kPrefix = "CAMHERD_";

// Names of the environment that are no overrides.
bool IsReserved(absl::string_view name) {
  return name == "CAMHERD_DATA_DIR" || name == "CAMHERD_WEIGHTS_DIR";
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

// The keys of section `name`, whose own line is `where`.
absl::StatusOr<Keys> ReadSection(const std::string& path,
                                 const std::string& where,
                                 const std::string& name,
                                 const YAML::Node& node) {
  Keys keys;
  if (node.IsNull()) return keys;
  if (!node.IsMap()) {
    return absl::InvalidArgumentError(
        absl::StrCat(where, ": section ", name, " must be a map of keys"));
  }
  for (const auto& pair : node) {
    ConfigSection::Value value;
    value.where = At(path, pair.first.Mark());
    const std::string key = pair.first.IsScalar() ? pair.first.Scalar() : "";
    if (!IsKey(key)) {
      return absl::InvalidArgumentError(absl::StrCat(
          value.where, ": a key of section ", name,
          " must be of lower-case letters, digits and _, got ", Quoted(key)));
    }
    const std::string full = absl::StrCat(name, ".", key);
    CAMHERD_ASSIGN_OR_RETURN(value.items,
                             Items(pair.second, value.where, full));
    value.is_list = pair.second.IsSequence();
    const auto [it, fresh] = keys.try_emplace(key, value);
    if (!fresh) {
      return absl::InvalidArgumentError(
          absl::StrCat(value.where, ": ", full, " is there twice, first at ",
                       it->second.where));
    }
  }
  return keys;
}

bool IsSection(absl::string_view name) {
  const std::vector<std::string>& known = YamlConfig::Sections();
  return std::find(known.begin(), known.end(), name) != known.end();
}

std::string SectionNames() {
  return absl::StrCat("[", absl::StrJoin(YamlConfig::Sections(), ", "), "]");
}

absl::StatusOr<std::map<std::string, Keys>> ReadSections(
    const std::string& path) {
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
  std::map<std::string, Keys> sections;
  if (documents.empty() || documents[0].IsNull()) return sections;
  if (!documents[0].IsMap()) {
    return absl::InvalidArgumentError(
        absl::StrCat(At(path, documents[0].Mark()),
                     ": the configuration must be a map of sections"));
  }
  for (const auto& entry : documents[0]) {
    const std::string where = At(path, entry.first.Mark());
    const std::string name = entry.first.IsScalar() ? entry.first.Scalar() : "";
    if (!IsSection(name)) {
      return absl::InvalidArgumentError(
          absl::StrCat(where, ": section must be one of ", SectionNames(),
                       ", got ", Quoted(name)));
    }
    CAMHERD_ASSIGN_OR_RETURN(Keys keys,
                             ReadSection(path, where, name, entry.second));
    if (!sections.try_emplace(name, std::move(keys)).second) {
      return absl::InvalidArgumentError(
          absl::StrCat(where, ": section ", name, " is there twice"));
    }
  }
  return sections;
}

absl::Status ApplyEnvironment(const YamlConfig::Environment& environment,
                              std::map<std::string, Keys>& sections) {
  for (const auto& [name, text] : environment) {
    if (!absl::StartsWith(name, kPrefix) || IsReserved(name)) continue;
    // No section's name holds an underscore, so the first one ends it.
    const std::string rest = absl::AsciiStrToLower(name.substr(kPrefix.size()));
    const size_t end = std::min(rest.find('_'), rest.size());
    const std::string section = rest.substr(0, end);
    const std::string key = rest.substr(std::min(end + 1, rest.size()));
    if (!IsSection(section) || !IsKey(key)) {
      return absl::InvalidArgumentError(absl::StrCat(
          "$", name, " must be CAMHERD_<SECTION>_<KEY> with a section of ",
          SectionNames()));
    }
    ConfigSection::Value value;
    value.items = {text};
    value.where = absl::StrCat("$", name);
    sections[section][key] = std::move(value);
  }
  return absl::OkStatus();
}

}  // namespace

const std::vector<std::string>& YamlConfig::Sections() {
  static const std::vector<std::string>& sections =
      *new std::vector<std::string>{"common",    "grpc",       "capture",
                                    "inference", "aggregator", "gateway"};
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
  config.environment_ = environment;
  if (!path.empty()) {
    CAMHERD_ASSIGN_OR_RETURN(config.sections_, ReadSections(path));
  }
  CAMHERD_RETURN_IF_ERROR(ApplyEnvironment(environment, config.sections_));
  return config;
}

ConfigSection YamlConfig::Section(absl::string_view name) const {
  if (!IsSection(name)) {
    LogFatal("no such configuration section", {{"section", name}});
  }
  const auto it = sections_.find(std::string(name));
  return ConfigSection(name, it == sections_.end() ? Keys() : it->second);
}

}  // namespace camherd
