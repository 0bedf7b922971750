// SPDX-License-Identifier: Apache-2.0
#include "services/aggregator/camera_csv.h"

#include <cmath>
#include <cstddef>
#include <map>
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "services/common/camera_url.h"
#include "services/common/utf8.h"

namespace camherd::aggregator {
namespace {

constexpr size_t kMaxNameBytes = 200;
// More are only counted: a file of 16 MiB could have 8 million.
constexpr size_t kMaxErrors = 1000;

struct CsvLine {
  int line = 0;
  std::vector<std::string> fields;
  bool unterminated = false;
};

// Reads one record of RFC 4180 from `text`; `line` is advanced past it.
CsvLine NextRecord(absl::string_view& text, int& line) {
  CsvLine record{.line = line, .fields = {}};
  std::string field;
  bool quoted = false;
  size_t i = 0;
  for (; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '\n') ++line;
    if (quoted) {
      if (c != '"') {
        field += c;
      } else if (i + 1 < text.size() && text[i + 1] == '"') {
        field += '"';
        ++i;
      } else {
        quoted = false;
      }
    } else if (c == '"' && absl::StripAsciiWhitespace(field).empty()) {
      quoted = true;
      field.clear();
    } else if (c == ',') {
      record.fields.push_back(std::move(field));
      field.clear();
    } else if (c == '\n') {
      ++i;
      break;
    } else {
      field += c;
    }
  }
  record.unterminated = quoted;
  record.fields.push_back(std::move(field));
  for (std::string& f : record.fields) absl::StripAsciiWhitespace(&f);
  text.remove_prefix(i);
  return record;
}

std::string Quoted(absl::string_view value) {
  return absl::StrCat("\"", absl::CHexEscape(value.substr(0, 80)), "\"");
}

// The message, if `text` is no number in [-limit, limit].
std::optional<std::string> ParseDegrees(absl::string_view column,
                                        const std::string& text, double limit,
                                        double& value) {
  if (absl::SimpleAtod(text, &value) && std::isfinite(value) &&
      std::fabs(value) <= limit) {
    return std::nullopt;
  }
  return absl::StrCat(column, " must be a number in [", -limit, ", ", limit,
                      "], got ", Quoted(text));
}

struct Columns {
  std::optional<size_t> id, latitude, longitude, name;
};

// The message, if a column is missing or there twice.
std::optional<std::string> FindColumns(const CsvLine& header,
                                       Columns& columns) {
  const std::pair<absl::string_view, std::optional<size_t>*> wanted[] = {
      {"cameraID", &columns.id},
      {"latitude", &columns.latitude},
      {"longitude", &columns.longitude},
      {"name", &columns.name}};
  for (size_t i = 0; i < header.fields.size(); ++i) {
    for (const auto& [name, column] : wanted) {
      if (!absl::EqualsIgnoreCase(header.fields[i], name)) continue;
      if (column->has_value()) {
        return absl::StrCat("column ", name, " is there twice");
      }
      *column = i;
    }
  }
  for (const auto& [name, column] : wanted) {
    if (!column->has_value() && name != "name") {
      return absl::StrCat("column ", name,
                          " is missing; the first line must name the columns "
                          "cameraID, latitude and longitude");
    }
  }
  return std::nullopt;
}

// The message, if the row cannot be used.
std::optional<std::string> ParseRow(const CsvLine& line, const Columns& columns,
                                    CameraRow& row) {
  if (line.unterminated) return "a quoted field is not closed";
  const auto field = [&](std::optional<size_t> column) {
    return column.has_value() && *column < line.fields.size()
               ? line.fields[*column]
               : std::string();
  };
  row.line = line.line;
  row.camera_id = field(columns.id);
  if (!IsValidId(row.camera_id)) {
    return absl::StrCat(
        "cameraID must match [A-Za-z0-9][A-Za-z0-9._-]{0,63}, got ",
        Quoted(row.camera_id));
  }
  if (auto error =
          ParseDegrees("latitude", field(columns.latitude), 90, row.latitude)) {
    return error;
  }
  if (auto error = ParseDegrees("longitude", field(columns.longitude), 180,
                                row.longitude)) {
    return error;
  }
  row.has_name = columns.name.has_value();
  row.name = field(columns.name);
  if (row.name.size() > kMaxNameBytes) {
    return absl::StrCat("name must have at most ", kMaxNameBytes,
                        " bytes, got ", row.name.size());
  }
  if (!IsUtf8(row.name)) {
    return absl::StrCat("name must be UTF-8, got ", Quoted(row.name));
  }
  if (!IsPlainText(row.name)) {
    return absl::StrCat(
        "name must be text without characters for control or for turning the "
        "direction of writing, got ",
        Quoted(row.name));
  }
  row.canonical = absl::StrFormat("%.17g,%.17g", row.latitude, row.longitude);
  if (row.has_name) absl::StrAppend(&row.canonical, ",", row.name);
  return std::nullopt;
}

}  // namespace

CameraCsv ParseCameraCsv(absl::string_view text) {
  CameraCsv csv;
  int more = 0;
  int more_from = 0;
  const auto fail = [&](int line, absl::string_view message) {
    if (csv.errors.size() == kMaxErrors) {
      if (more++ == 0) more_from = line;
      return;
    }
    v1::RowError& error = csv.errors.emplace_back();
    error.set_line(line);
    error.set_message(std::string(message));
  };
  absl::ConsumePrefix(&text, "\xEF\xBB\xBF");
  int line = 1;
  std::optional<Columns> columns;
  std::map<std::string, int> first_lines;
  while (!text.empty()) {
    const CsvLine record = NextRecord(text, line);
    if (record.fields.size() == 1 && record.fields[0].empty()) continue;
    if (!columns.has_value()) {
      columns.emplace();
      if (const auto error = FindColumns(record, *columns)) {
        fail(record.line, *error);
        return csv;
      }
      continue;
    }
    CameraRow row;
    if (const auto error = ParseRow(record, *columns, row)) {
      fail(record.line, *error);
      continue;
    }
    const auto [known, is_new] = first_lines.emplace(row.camera_id, row.line);
    if (!is_new) {
      fail(record.line, absl::StrCat("cameraID ", row.camera_id, " is on line ",
                                     known->second, " already"));
      continue;
    }
    if (csv.rows.size() == kMaxCameras) {
      csv = {};
      fail(1, absl::StrCat("the file has more than ", kMaxCameras, " cameras"));
      return csv;
    }
    csv.rows.push_back(std::move(row));
  }
  if (more > 0) {
    v1::RowError& error = csv.errors.emplace_back();
    error.set_line(more_from);
    error.set_message(
        absl::StrCat("from here on ", more, " more rows cannot be used"));
  }
  if (!columns.has_value()) {
    fail(1,
         "the file is empty; the first line must name the columns cameraID, "
         "latitude and longitude");
  }
  return csv;
}

}  // namespace camherd::aggregator
