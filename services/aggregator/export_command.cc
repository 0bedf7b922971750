// SPDX-License-Identifier: Apache-2.0
#include "services/aggregator/export_command.h"

#include <cerrno>
#include <memory>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "services/aggregator/record_export.h"
#include "services/aggregator/sqlite_record_store.h"
#include "services/common/camera_url.h"
#include "services/common/clock.h"
#include "services/common/file.h"
#include "services/common/status_macros.h"

namespace camherd::aggregator {
namespace {

absl::StatusOr<absl::Time> ParseWhen(absl::string_view name,
                                     const std::string& text) {
  absl::Time time;
  std::string error;
  if (absl::ParseTime(absl::RFC3339_full, text, &time, &error) ||
      absl::ParseTime("%Y-%m-%d", text, &time, &error)) {
    return time;
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "--", name,
      " must be a time such as 2026-08-01T10:15:00Z or a day such as "
      "2026-08-01, got \"",
      text, "\""));
}

absl::StatusOr<RecordExport::Options> ParseOptions(
    const std::map<std::string, std::string>& given, const LineOptions& line) {
  RecordExport::Options options;
  options.line = line;
  for (const auto& [name, value] : given) {
    if (name == "format") {
      CAMHERD_ASSIGN_OR_RETURN(options.format, ParseExportFormat(value));
    } else if (name == "camera") {
      CAMHERD_RETURN_IF_ERROR(CheckId("--camera", value));
      options.filter.camera_id = value;
    } else if (name == "since") {
      CAMHERD_ASSIGN_OR_RETURN(options.filter.since, ParseWhen(name, value));
    } else if (name == "until") {
      CAMHERD_ASSIGN_OR_RETURN(options.filter.until, ParseWhen(name, value));
    }
  }
  if (options.filter.since >= options.filter.until) {
    return absl::InvalidArgumentError("--since must be before --until");
  }
  return options;
}

absl::Status Write(RecordExport& records, FILE* out) {
  while (true) {
    CAMHERD_ASSIGN_OR_RETURN(const std::string piece, records.Next());
    if (piece.empty()) break;
    if (std::fwrite(piece.data(), 1, piece.size(), out) != piece.size()) {
      return ErrnoStatus(errno, "write", "the output");
    }
  }
  if (std::fflush(out) != 0) return ErrnoStatus(errno, "write", "the output");
  return absl::OkStatus();
}

int Fail(FILE* err, int code, const absl::Status& status) {
  std::fprintf(err, "camherd-aggregator export: %s\n",
               std::string(status.message()).c_str());
  return code;
}

}  // namespace

std::vector<ServiceOption> ExportOptions() {
  return {{.name = "format",
           .value = "FORM",
           .help = "jsonl (the lines of predictions.json, the default),\n"
                   "array, csv or geojson; goes to standard output"},
          {.name = "since",
           .value = "TIME",
           .help = "captured then or later: 2026-08-01T10:15:00Z, or a\n"
                   "day, 2026-08-01 (UTC)"},
          {.name = "until", .value = "TIME", .help = "captured before that"},
          {.name = "camera", .value = "ID", .help = "of that camera only"}};
}

int RunExportCommand(const std::map<std::string, std::string>& given,
                     const std::string& data_dir, const LineOptions& line,
                     FILE* out, FILE* err) {
  const absl::StatusOr<RecordExport::Options> options =
      ParseOptions(given, line);
  if (!options.ok()) return Fail(err, 2, options.status());
  const absl::StatusOr<std::unique_ptr<SqliteRecordStore>> store =
      SqliteRecordStore::OpenToRead(data_dir, Clock::Real());
  if (!store.ok()) return Fail(err, 1, store.status());
  absl::StatusOr<RecordExport> records =
      RecordExport::Create(*options, **store);
  if (!records.ok()) return Fail(err, 2, records.status());
  if (const absl::Status status = Write(*records, out); !status.ok()) {
    return Fail(err, 1, status);
  }
  std::fprintf(err, "%s records", absl::StrCat(records->records()).c_str());
  if (records->pictures_missing() > 0) {
    std::fprintf(err, ", %s without their picture",
                 absl::StrCat(records->pictures_missing()).c_str());
  }
  std::fprintf(err, "\n");
  return 0;
}

}  // namespace camherd::aggregator
