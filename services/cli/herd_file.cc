// SPDX-License-Identifier: Apache-2.0
#include "services/cli/herd_file.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdlib>
#include <optional>
#include <set>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "google/protobuf/descriptor.h"
#include "services/cli/console.h"
#include "services/cli/enum_names.h"
#include "services/cli/herd_checks.h"
#include "services/cli/secret_input.h"
#include "services/common/camera_url.h"
#include "services/common/proto_json.h"
#include "services/common/status_macros.h"
#include "services/common/utf8.h"

namespace camherd::cli {
namespace {

using ::google::protobuf::Descriptor;
using ::google::protobuf::FieldDescriptor;

constexpr int kMaxDepth = 16;
constexpr absl::string_view kLoginMask = "***:***@";

const std::vector<std::string>& CameraKeys() {
  static const auto& keys = *new std::vector<std::string>{
      "camera_id",     "name",  "latitude",         "longitude",
      "privacy_masks", "zones", "class_thresholds", "classes"};
  return keys;
}
const std::vector<std::string>& StreamKeys() {
  static const auto& keys = *new std::vector<std::string>{
      "rtsp_url",      "models",     "interval_seconds",
      "sampling_mode", "transport",  "batch_size",
      "tls_verify",    "detect_url", "user"};
  return keys;
}
// Those that may be secret.
const std::vector<std::string>& SecretKeys() {
  static const auto& keys = *new std::vector<std::string>{
      "rtsp_url", "detect_url", "user", "password"};
  return keys;
}

bool Has(const std::vector<std::string>& keys, absl::string_view key) {
  return std::find(keys.begin(), keys.end(), key) != keys.end();
}

// A value as the file has it, with its line.
struct Raw {
  enum class Kind { kNull, kScalar, kList, kMap };
  Kind kind = Kind::kNull;
  int line = 0;
  std::string text = {};
  // Of a list, and of a map in pairs.
  std::vector<Raw> items = {};
  std::vector<std::pair<std::string, Raw>> entries = {};
};

// The field's value as JSON, so that it is read as REST reads it. Null where
// there is no such field: it will be said.
std::string ToJson(const Raw& raw, const FieldDescriptor* field, bool element) {
  const bool is_map = field != nullptr && field->is_map() && !element;
  const Descriptor* type = field == nullptr ? nullptr : field->message_type();
  switch (raw.kind) {
    case Raw::Kind::kNull:
      return "null";
    case Raw::Kind::kList:
      return absl::StrCat(
          "[",
          absl::StrJoin(raw.items, ",",
                        [&](std::string* out, const Raw& item) {
                          out->append(ToJson(item, field, true));
                        }),
          "]");
    case Raw::Kind::kMap:
      return absl::StrCat(
          "{",
          absl::StrJoin(raw.entries, ",",
                        [&](std::string* out, const auto& entry) {
                          const FieldDescriptor* child =
                              type == nullptr ? nullptr
                              : is_map        ? type->map_value()
                                       : type->FindFieldByName(entry.first);
                          absl::StrAppend(out, QuoteJson(entry.first), ":",
                                          ToJson(entry.second, child, false));
                        }),
          "}");
    case Raw::Kind::kScalar:
      break;
  }
  if (field == nullptr) return QuoteJson(raw.text);
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_BOOL:
      if (raw.text == "true" || raw.text == "false") return raw.text;
      break;
    case FieldDescriptor::CPPTYPE_DOUBLE:
    case FieldDescriptor::CPPTYPE_FLOAT:
    case FieldDescriptor::CPPTYPE_INT32:
    case FieldDescriptor::CPPTYPE_INT64: {
      double number = 0;
      if (absl::SimpleAtod(raw.text, &number) && std::isfinite(number)) {
        return absl::StrFormat("%.17g", number);
      }
      break;
    }
    default:
      break;
  }
  return QuoteJson(raw.text);
}

// Reads one file.
class Reader {
 public:
  explicit Reader(const std::string& path)
      : path_(path), name_(path == "-" ? "standard input" : path) {}

  HerdFile Read(absl::string_view text) && {
    if (!IsUtf8(text)) {
      Fail(1, "the file must be UTF-8");
    } else if (absl::EndsWithIgnoreCase(path_, ".csv")) {
      ReadCsv(text);
    } else {
      ReadYaml(std::string(text));
    }
    // All of them are "<name>:<line>: ...".
    const auto line_of = [this](const std::string& error) {
      return std::atoi(error.c_str() + name_.size() + 1);
    };
    std::stable_sort(file_.errors.begin(), file_.errors.end(),
                     [&line_of](const std::string& a, const std::string& b) {
                       return line_of(a) < line_of(b);
                     });
    return std::move(file_);
  }

 private:
  std::string At(int line) const { return absl::StrCat(name_, ":", line); }
  void Fail(int line, absl::string_view message) {
    file_.errors.push_back(absl::StrCat(At(line), ": ", message));
  }

  // YAML.

  void ReadYaml(const std::string& text) {
    std::vector<YAML::Node> documents;
    try {
      documents = YAML::LoadAll(text);
    } catch (const YAML::Exception& error) {
      Fail(error.mark.line + 1, absl::StrCat("not YAML: ", error.msg));
      return;
    }
    if (documents.size() != 1 || !documents[0].IsMap()) {
      Fail(1, "the file must be one YAML map with the key cameras");
      return;
    }
    std::optional<Raw> root = FromYaml(documents[0], 0);
    if (!root.has_value()) return;
    const Raw* cameras = nullptr;
    for (const auto& [key, value] : root->entries) {
      if (key == "cameras") {
        cameras = &value;
      } else {
        Fail(value.line,
             absl::StrCat("unknown key ", Printable(key), "; known: cameras"));
      }
    }
    if (cameras == nullptr) {
      Fail(1, "the key cameras is missing");
    } else if (cameras->kind == Raw::Kind::kNull) {
      return;
    } else if (cameras->kind != Raw::Kind::kList) {
      Fail(cameras->line, "cameras must be a list");
    } else {
      for (const Raw& camera : cameras->items) ReadEntry(camera);
    }
  }

  // std::nullopt: it has been said why.
  std::optional<Raw> FromYaml(const YAML::Node& node, int depth) {
    Raw raw;
    raw.line = node.Mark().line + 1;
    if (depth > kMaxDepth) {
      Fail(raw.line, absl::StrCat("nested deeper than ", kMaxDepth));
      return std::nullopt;
    }
    if (node.IsScalar()) {
      raw.kind = Raw::Kind::kScalar;
      raw.text = node.Scalar();
    } else if (node.IsSequence()) {
      raw.kind = Raw::Kind::kList;
      for (const YAML::Node& item : node) {
        std::optional<Raw> child = FromYaml(item, depth + 1);
        if (!child.has_value()) return std::nullopt;
        raw.items.push_back(*std::move(child));
      }
    } else if (node.IsMap()) {
      raw.kind = Raw::Kind::kMap;
      std::set<std::string> seen;
      for (const auto& entry : node) {
        const int line = entry.first.Mark().line + 1;
        if (!entry.first.IsScalar()) {
          Fail(line, "a key must be a plain word");
          return std::nullopt;
        }
        const std::string& key = entry.first.Scalar();
        if (!seen.insert(key).second) {
          Fail(line, absl::StrCat(Printable(key), " is there twice"));
          continue;
        }
        std::optional<Raw> child = FromYaml(entry.second, depth + 1);
        if (!child.has_value()) return std::nullopt;
        // Where its key stands, also for a value of several lines.
        child->line = line;
        raw.entries.emplace_back(key, *std::move(child));
      }
    }
    return raw;
  }

  // CSV, as RFC 4180 has it.

  struct Row {
    int line = 0;
    std::vector<std::string> cells = {};
    bool open_quote = false;
  };

  static Row NextRow(absl::string_view& text, int& line) {
    Row row{.line = line};
    std::string cell;
    bool quoted = false;
    size_t i = 0;
    for (; i < text.size(); ++i) {
      const char c = text[i];
      if (c == '\n') ++line;
      if (quoted && c == '"' && i + 1 < text.size() && text[i + 1] == '"') {
        cell.push_back(text[++i]);
      } else if (c == '"' && (quoted || cell.empty())) {
        quoted = !quoted;
      } else if (!quoted && (c == ',' || c == '\n')) {
        row.cells.push_back(std::move(cell));
        cell.clear();
        if (c == '\n') break;
      } else {
        cell.push_back(c);
      }
    }
    if (i == text.size()) row.cells.push_back(std::move(cell));
    text.remove_prefix(std::min(i + 1, text.size()));
    row.open_quote = quoted;
    for (std::string& c : row.cells) absl::StripAsciiWhitespace(&c);
    return row;
  }

  void ReadCsv(absl::string_view text) {
    absl::ConsumePrefix(&text, "\xEF\xBB\xBF");
    int line = 1;
    std::vector<std::string> columns;
    while (!text.empty()) {
      const Row row = NextRow(text, line);
      if (row.cells.size() == 1 && row.cells[0].empty()) continue;
      if (row.open_quote) {
        Fail(row.line, "a quoted value is not closed");
      } else if (columns.empty()) {
        columns = row.cells;
        if (!CheckColumns(row.line, columns)) return;
      } else if (row.cells.size() > columns.size()) {
        Fail(row.line, absl::StrCat("has ", row.cells.size(), " values, for ",
                                    columns.size(), " columns"));
      } else {
        ReadRow(row, columns);
      }
    }
    if (columns.empty()) {
      Fail(1, "the first line must name the columns, such as camera_id");
    }
  }

  bool CheckColumns(int line, std::vector<std::string>& columns) {
    std::set<std::string> seen;
    const size_t errors = file_.errors.size();
    for (std::string& column : columns) {
      // Document A's name.
      if (absl::EqualsIgnoreCase(column, "cameraID")) column = "camera_id";
      if (!seen.insert(column).second) {
        Fail(line,
             absl::StrCat("column ", Printable(column), " is there twice"));
      } else if (column == "privacy_masks" || column == "zones" ||
                 column == "class_thresholds") {
        Fail(line, absl::StrCat("column ", column, " needs YAML"));
      } else if (!IsKnown(column)) {
        Fail(line, UnknownKey("column ", column));
      }
    }
    if (!seen.contains("camera_id")) {
      Fail(line, "the column camera_id is missing");
    }
    return file_.errors.size() == errors;
  }

  void ReadRow(const Row& row, const std::vector<std::string>& columns) {
    Raw entry{.kind = Raw::Kind::kMap, .line = row.line};
    for (size_t i = 0; i < row.cells.size(); ++i) {
      if (row.cells[i].empty()) continue;
      Raw value{
          .kind = Raw::Kind::kScalar, .line = row.line, .text = row.cells[i]};
      if (columns[i] == "models" || columns[i] == "classes") {
        value.kind = Raw::Kind::kList;
        for (const absl::string_view item : absl::StrSplit(
                 row.cells[i], absl::ByAnyChar(" ;"), absl::SkipEmpty())) {
          value.items.push_back({.kind = Raw::Kind::kScalar,
                                 .line = row.line,
                                 .text = std::string(item)});
        }
      }
      entry.entries.emplace_back(columns[i], std::move(value));
    }
    ReadEntry(entry);
  }

  // Both.

  // The key without _file or _env where it is a reference to a secret.
  static std::string SecretOf(absl::string_view key) {
    absl::string_view base = key;
    if ((absl::ConsumeSuffix(&base, "_file") ||
         absl::ConsumeSuffix(&base, "_env")) &&
        Has(SecretKeys(), base)) {
      return std::string(base);
    }
    return "";
  }

  static bool IsKnown(absl::string_view key) {
    return Has(CameraKeys(), key) || Has(StreamKeys(), key) ||
           key == "password" || !SecretOf(key).empty();
  }

  static std::string UnknownKey(absl::string_view what, absl::string_view key) {
    return absl::StrCat(
        "unknown ", what, Printable(key),
        "; known: ", absl::StrJoin(CameraKeys(), ", "), ", ",
        absl::StrJoin(StreamKeys(), ", "),
        ", and rtsp_url, detect_url, user, password with _file or _env");
  }

  void ReadEntry(const Raw& raw) {
    HerdEntry entry;
    entry.where = At(raw.line);
    if (raw.kind != Raw::Kind::kMap) {
      Fail(raw.line, "a camera must be a map of keys");
      return;
    }
    std::map<std::string, ValueSource> secrets;
    for (const auto& [key, value] : raw.entries) {
      if (value.kind == Raw::Kind::kNull) continue;
      const std::string secret = SecretOf(key);
      if (key == "password") {
        Fail(value.line,
             "password must not be in the file, which is there to be kept and "
             "shared: give password_file or password_env");
      } else if (!secret.empty()) {
        if (value.kind != Raw::Kind::kScalar || value.text.empty() ||
            value.text == "-") {
          Fail(value.line, absl::StrCat(key, " must be a name"));
          continue;
        }
        ValueSource& source = secrets[secret];
        (absl::EndsWith(key, "_env") ? source.env : source.file) =
            absl::EndsWith(key, "_env") ? value.text : BesideFile(value.text);
        Note(secret, value.line, entry);
      } else if (Has(CameraKeys(), key)) {
        ReadKey(key, value, &entry.camera, entry);
      } else if (Has(StreamKeys(), key)) {
        ReadKey(key, value, &entry.stream, entry);
        if ((key == "rtsp_url" || key == "detect_url") &&
            value.kind == Raw::Kind::kScalar) {
          CheckOpenUrl(key, value);
        }
      } else {
        Fail(value.line, UnknownKey("key ", key));
      }
    }
    ReadSecrets(secrets, entry);
    CheckHerdEntry(entry, &file_.errors);
    const std::string& id = entry.camera.camera_id();
    const auto [known, is_new] = lines_.emplace(id, entry.where);
    if (!is_new && !id.empty()) {
      Fail(raw.line, absl::StrCat("camera_id ", Printable(id), " is at ",
                                  known->second, " already"));
    }
    file_.entries.push_back(std::move(entry));
  }

  void Note(const std::string& key, int line, HerdEntry& entry) {
    if (!entry.given.emplace(key, At(line)).second) {
      Fail(line, absl::StrCat(key,
                              " is given twice: as it is, by _file or by "
                              "_env, once"));
    }
  }

  template <typename Message>
  void ReadKey(const std::string& key, const Raw& value, Message* message,
               HerdEntry& entry) {
    Note(key, value.line, entry);
    const FieldDescriptor* field = Message::descriptor()->FindFieldByName(key);
    const auto read = [&](const Raw& raw, const std::string& json) {
      const absl::Status status = JsonToProto(
          absl::StrCat("{", QuoteJson(key), ":", json, "}"), {}, message);
      if (!status.ok()) Fail(raw.line, Printable(status.message()));
      return status.ok();
    };
    const bool messages = field->is_repeated() && !field->is_map() &&
                          field->message_type() != nullptr;
    if (!messages || value.kind != Raw::Kind::kList) {
      read(value, ToJson(value, field, false));
      return;
    }
    // One by one, so that the line of each is known.
    for (size_t i = 0; i < value.items.size(); ++i) {
      const size_t errors = file_.errors.size();
      read(value.items[i],
           absl::StrCat("[", ToJson(value.items[i], field, true), "]"));
      if (file_.errors.size() > errors) {
        file_.errors.back() = absl::StrReplaceAll(
            file_.errors.back(),
            {{absl::StrCat(key, "[0]"), absl::StrCat(key, "[", i, "]")}});
      }
    }
  }

  void CheckOpenUrl(const std::string& key, const Raw& value) {
    const auto url = CameraUrl::Parse(value.text);
    if (!url.ok()) {
      absl::string_view message = url.status().message();
      absl::ConsumePrefix(&message, "rtsp_url");
      Fail(value.line, absl::StrCat(key, Printable(message)));
    } else if (url->Masked() != url->Full()) {
      Fail(value.line,
           absl::StrCat(key,
                        " must hold no user, password or token, since the file "
                        "is there to be kept and shared: give ",
                        key, "_file or ", key,
                        "_env, or user with password_file or password_env"));
    }
  }

  std::string BesideFile(const std::string& name) const {
    const size_t slash = path_.rfind('/');
    if (name.front() == '/' || slash == std::string::npos) return name;
    return absl::StrCat(path_.substr(0, slash + 1), name);
  }

  void ReadSecrets(const std::map<std::string, ValueSource>& secrets,
                   HerdEntry& entry) {
    for (const auto& [key, source] : secrets) {
      entry.has_secret = true;
      absl::StatusOr<std::string> value = ReadValue(key, source);
      if (value.ok() && absl::EndsWith(key, "_url")) {
        if (const auto url = CameraUrl::Parse(*value); !url.ok()) {
          value = url.status();
        }
      }
      if (!value.ok()) {
        file_.errors.push_back(absl::StrCat(
            entry.given.at(key), ": ", Printable(value.status().message())));
        continue;
      }
      if (key == "rtsp_url") entry.stream.set_rtsp_url(*value);
      if (key == "detect_url") entry.stream.set_detect_url(*value);
      if (key == "user") entry.stream.set_user(*value);
      if (key == "password") entry.stream.set_password(*value);
    }
    if (!entry.stream.user().empty()) entry.has_secret = true;
  }

  const std::string path_;
  const std::string name_;
  HerdFile file_;
  // Where each camera is.
  std::map<std::string, std::string> lines_;
};

// What is written of a stream.
void AppendStream(const v1::Stream& stream, std::string& out) {
  const auto line = [&out](absl::string_view key, absl::string_view value) {
    absl::StrAppend(&out, "    ", key, ": ", value, "\n");
  };
  const std::string url = WithoutLogin(stream.rtsp_url());
  if (url != stream.rtsp_url()) {
    absl::StrAppend(
        &out,
        "    # Has a login, which is kept while it runs. To start it anew:\n"
        "    # user, password_file (or password_env).\n");
  }
  if (absl::StrContains(url, "***")) {
    absl::StrAppend(&out,
                    "    # *** is a secret, which is kept while it runs. To "
                    "start it anew:\n    # rtsp_url_file (or rtsp_url_env).\n");
  }
  line("rtsp_url", QuoteJson(url));
  if (!stream.detect_url().empty()) {
    line("detect_url", QuoteJson(WithoutLogin(stream.detect_url())));
  }
  line("models",
       absl::StrCat("[",
                    absl::StrJoin(stream.models(), ", ",
                                  [](std::string* text, const auto& model) {
                                    text->append(QuoteJson(model));
                                  }),
                    "]"));
  line("interval_seconds", ShortNumber(stream.interval_seconds()));
  line("sampling_mode", NameOf(stream.sampling_mode()));
  line("transport", NameOf(stream.transport()));
  line("batch_size", absl::StrCat(stream.batch_size()));
  if (stream.has_tls_verify() && !stream.tls_verify()) {
    line("tls_verify", "false");
  }
}

void AppendCamera(const v1::Camera& camera, std::string& out) {
  const auto line = [&out](absl::string_view key, absl::string_view value) {
    absl::StrAppend(&out, "    ", key, ": ", value, "\n");
  };
  if (!camera.name().empty()) line("name", QuoteJson(camera.name()));
  if (camera.has_latitude()) line("latitude", ShortNumber(camera.latitude()));
  if (camera.has_longitude()) {
    line("longitude", ShortNumber(camera.longitude()));
  }
  const auto list = [&](absl::string_view key, const auto& messages) {
    if (messages.empty()) return;
    line(key, "");
    out.erase(out.size() - 2, 1);
    for (const auto& message : messages) {
      absl::StrAppend(&out, "      - ", ProtoToJson(message), "\n");
    }
  };
  list("privacy_masks", camera.privacy_masks());
  list("zones", camera.zones());
  if (!camera.class_thresholds().empty()) {
    // Sorted, so that the file is the same each time.
    const std::map<std::string, double> sorted(
        camera.class_thresholds().begin(), camera.class_thresholds().end());
    line("class_thresholds",
         absl::StrCat("{",
                      absl::StrJoin(sorted, ", ",
                                    [](std::string* text, const auto& entry) {
                                      absl::StrAppend(
                                          text, QuoteJson(entry.first), ": ",
                                          ShortNumber(entry.second));
                                    }),
                      "}"));
  }
  if (!camera.classes().empty()) {
    line("classes",
         absl::StrCat("[",
                      absl::StrJoin(camera.classes(), ", ",
                                    [](std::string* text, const auto& name) {
                                      text->append(QuoteJson(name));
                                    }),
                      "]"));
  }
}

}  // namespace

HerdFile ParseHerdFile(const std::string& path, absl::string_view text) {
  return Reader(path).Read(text);
}

std::string WriteHerdFile(const std::vector<v1::Camera>& cameras,
                          const std::vector<v1::Stream>& streams) {
  std::map<std::string, std::pair<const v1::Camera*, const v1::Stream*>> all;
  for (const v1::Camera& camera : cameras) {
    all[camera.camera_id()].first = &camera;
  }
  for (const v1::Stream& stream : streams) {
    if (stream.desired_running()) all[stream.camera_id()].second = &stream;
  }
  std::string out =
      "# Cameras and their streams, for `camherd apply -f`. Users and "
      "passwords are\n# never written here.\ncameras:";
  out += all.empty() ? " []\n" : "\n";
  for (const auto& [id, both] : all) {
    absl::StrAppend(&out, "  - camera_id: ", QuoteJson(id), "\n");
    if (both.first != nullptr) AppendCamera(*both.first, out);
    if (both.second != nullptr) AppendStream(*both.second, out);
  }
  return out;
}

std::string WithoutLogin(absl::string_view masked_url) {
  return absl::StrReplaceAll(masked_url, {{kLoginMask, ""}});
}

}  // namespace camherd::cli
