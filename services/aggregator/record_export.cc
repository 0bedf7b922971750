// SPDX-License-Identifier: Apache-2.0
#include "services/aggregator/record_export.h"

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "services/aggregator/json_writer.h"
#include "services/common/log.h"
#include "services/common/status_macros.h"
#include "services/common/time_proto.h"

namespace camherd::aggregator {
namespace {

constexpr int kRecordsPerRead = 16;
constexpr absl::string_view kCsvHead =
    "record_id,captured_at,recorded_at,camera_id,latitude,longitude,"
    "process_name,session_id,batch_seq,frames,complaints,detections,classes,"
    "picture\r\n";

// Of the evidence, else the first.
absl::string_view PicturePath(const StoredRecord& stored) {
  const int wanted = stored.record.evidence().empty()
                         ? 0
                         : stored.record.evidence(0).frame_index();
  for (const StoredPicture& picture : stored.pictures) {
    if (picture.frame_index == wanted) return picture.path;
  }
  return "";
}

// Each has its evidence.
std::vector<absl::string_view> Complaints(const v1::Record& record) {
  std::vector<absl::string_view> types;
  for (const v1::Evidence& evidence : record.evidence()) {
    types.push_back(evidence.complaint_type());
  }
  return types;
}

std::map<std::string, int> Classes(const v1::Record& record) {
  std::map<std::string, int> counts;
  for (const v1::RecordSection& section : record.sections()) {
    for (const v1::Detection& detection : section.detections()) {
      ++counts[detection.class_name()];
    }
  }
  return counts;
}

int Detections(const v1::Record& record) {
  int count = 0;
  for (const v1::RecordSection& section : record.sections()) {
    count += section.detections_size();
  }
  return count;
}

std::string CsvText(absl::string_view text) {
  const bool formula =
      !text.empty() && absl::string_view("=+-@\t\r").find(text.front()) !=
                           absl::string_view::npos;
  const std::string shown = absl::StrCat(formula ? "'" : "", text);
  if (shown.find_first_of(",\"\r\n") == std::string::npos) return shown;
  return absl::StrCat("\"", absl::StrReplaceAll(shown, {{"\"", "\"\""}}), "\"");
}

std::string JsonDouble(double value) {
  std::string text;
  JsonWriter(text).Double(value);
  return text;
}

}  // namespace

absl::StatusOr<v1::ExportFormat> ParseExportFormat(absl::string_view name) {
  if (name == "jsonl") return v1::EXPORT_FORMAT_JSONL;
  if (name == "array") return v1::EXPORT_FORMAT_ARRAY;
  if (name == "csv") return v1::EXPORT_FORMAT_CSV;
  if (name == "geojson") return v1::EXPORT_FORMAT_GEOJSON;
  return absl::InvalidArgumentError(absl::StrCat(
      "format must be one of jsonl, array, csv, geojson, got \"", name, "\""));
}

absl::StatusOr<RecordExport> RecordExport::Create(const Options& options,
                                                  RecordStore& store) {
  RecordExport made(options, store);
  switch (options.format) {
    case v1::EXPORT_FORMAT_JSONL:
      break;
    case v1::EXPORT_FORMAT_ARRAY:
      made.buffer_ = "[\n";
      break;
    case v1::EXPORT_FORMAT_CSV:
      made.buffer_ = std::string(kCsvHead);
      break;
    case v1::EXPORT_FORMAT_GEOJSON:
      made.buffer_ = "{\"type\": \"FeatureCollection\", \"features\": [\n";
      break;
    default:
      return absl::InvalidArgumentError(
          absl::StrCat("format must be one of JSONL, ARRAY, CSV, GEOJSON, got ",
                       v1::ExportFormat_Name(options.format)));
  }
  return made;
}

RecordExport::RecordExport(const Options& options, RecordStore& store)
    : options_(options), store_(&store), last_(store.LastRecordId()) {}

absl::StatusOr<std::string> RecordExport::Next() {
  while (!done_ && buffer_.size() - taken_ < kMaxPieceBytes) {
    CAMHERD_RETURN_IF_ERROR(ReadMore());
  }
  std::string piece = buffer_.substr(taken_, kMaxPieceBytes);
  taken_ += piece.size();
  if (taken_ == buffer_.size()) {
    buffer_.clear();
    taken_ = 0;
  }
  return piece;
}

absl::Status RecordExport::ReadMore() {
  CAMHERD_ASSIGN_OR_RETURN(
      const std::vector<StoredRecord> records,
      store_->RecordsAfter(options_.filter, reached_, kRecordsPerRead));
  buffer_.erase(0, taken_);
  taken_ = 0;
  for (const StoredRecord& stored : records) {
    reached_ = stored.record.record_id();
    if (reached_ > last_) break;
    Append(stored);
    if (buffer_.size() >= kMaxPieceBytes) return absl::OkStatus();
  }
  if (!records.empty() && reached_ <= last_) return absl::OkStatus();
  done_ = true;
  if (options_.format == v1::EXPORT_FORMAT_ARRAY) buffer_ += "\n]\n";
  if (options_.format == v1::EXPORT_FORMAT_GEOJSON) buffer_ += "\n]}\n";
  return absl::OkStatus();
}

void RecordExport::Append(const StoredRecord& stored) {
  switch (options_.format) {
    case v1::EXPORT_FORMAT_CSV:
      AppendCsv(stored);
      break;
    case v1::EXPORT_FORMAT_GEOJSON:
      AppendFeature(stored);
      break;
    default:
      if (!AppendLines(stored)) return;
      break;
  }
  ++records_;
}

bool RecordExport::AppendLines(const StoredRecord& stored) {
  std::string lines;
  const absl::Status picture = AppendPredictionLines(
      stored, options_.line,
      [this](const StoredPicture& p) { return store_->ReadPicture(p); }, lines);
  if (!picture.ok()) {
    // Removed since it was read, row first.
    if (absl::IsNotFound(
            store_->GetRecord(stored.record.record_id()).status())) {
      return false;
    }
    ++pictures_missing_;
    LogWarning("an exported record has no picture",
               {{"record", stored.record.record_id()}, {"error", picture}});
  }
  if (options_.format == v1::EXPORT_FORMAT_JSONL) {
    buffer_ += lines;
    return true;
  }
  for (const absl::string_view line :
       absl::StrSplit(lines, '\n', absl::SkipEmpty())) {
    absl::StrAppend(&buffer_, std::exchange(any_line_, true) ? ",\n" : "",
                    line);
  }
  return true;
}

void RecordExport::AppendCsv(const StoredRecord& stored) {
  const v1::Record& record = stored.record;
  std::vector<std::string> classes;
  for (const auto& [name, count] : Classes(record)) {
    classes.push_back(absl::StrCat(name, "=", count));
  }
  const std::string fields[] = {
      absl::StrCat(record.record_id()),
      FormatRfc3339(FromProto(record.captured_at())),
      FormatRfc3339(FromProto(record.recorded_at())),
      CsvText(record.camera_id()),
      record.has_latitude() ? JsonDouble(record.latitude()) : "",
      record.has_longitude() ? JsonDouble(record.longitude()) : "",
      CsvText(record.process_name()),
      CsvText(record.session_id()),
      absl::StrCat(record.batch_seq()),
      absl::StrCat(record.frames_size()),
      CsvText(absl::StrJoin(Complaints(record), ";")),
      absl::StrCat(Detections(record)),
      CsvText(absl::StrJoin(classes, ";")),
      CsvText(PicturePath(stored))};
  absl::StrAppend(&buffer_, absl::StrJoin(fields, ","), "\r\n");
}

void RecordExport::AppendFeature(const StoredRecord& stored) {
  const v1::Record& record = stored.record;
  if (records_ > 0) buffer_ += ",\n";
  JsonWriter json(buffer_);
  json.BeginObject();
  json.Key("type");
  json.PlainString("Feature");
  json.Key("id");
  json.Int(record.record_id());
  json.Key("geometry");
  if (record.has_latitude() && record.has_longitude()) {
    json.BeginObject();
    json.Key("type");
    json.PlainString("Point");
    json.Key("coordinates");
    json.BeginArray();
    json.Double(record.longitude());
    json.Double(record.latitude());
    json.EndArray();
    json.EndObject();
  } else {
    json.Null();
  }
  json.Key("properties");
  json.BeginObject();
  const std::pair<absl::string_view, std::string> texts[] = {
      {"captured_at", FormatRfc3339(FromProto(record.captured_at()))},
      {"recorded_at", FormatRfc3339(FromProto(record.recorded_at()))},
      {"camera_id", record.camera_id()},
      {"process_name", record.process_name()},
      {"session_id", record.session_id()},
      {"picture", std::string(PicturePath(stored))}};
  for (const auto& [key, value] : texts) {
    json.Key(key);
    json.String(value);
  }
  json.Key("batch_seq");
  json.Int(record.batch_seq());
  json.Key("frames");
  json.Int(record.frames_size());
  json.Key("complaints");
  json.BeginArray();
  for (const absl::string_view type : Complaints(record)) json.String(type);
  json.EndArray();
  json.Key("classes");
  json.BeginObject();
  for (const auto& [name, count] : Classes(record)) {
    json.Key(name);
    json.Int(count);
  }
  json.EndObject();
  json.EndObject();
  json.EndObject();
}

}  // namespace camherd::aggregator
