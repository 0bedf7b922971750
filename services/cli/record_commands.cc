// SPDX-License-Identifier: Apache-2.0
#include "services/cli/record_commands.h"

#include <map>
#include <memory>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "services/cli/enum_names.h"
#include "services/cli/exit_code.h"
#include "services/cli/output_file.h"
#include "services/cli/table.h"
#include "services/common/clock.h"
#include "services/common/proto_json.h"
#include "services/common/status_macros.h"
#include "services/common/time_proto.h"

namespace camherd::cli {
namespace {

// since and until of `options` into `request`.
template <typename Options, typename Request>
absl::Status ReadTimes(const Options& options, Request* request) {
  const absl::Time now = Clock::Real().Now();
  absl::Time since = absl::InfinitePast();
  absl::Time until = absl::InfiniteFuture();
  if (!options.since.empty()) {
    CAMHERD_ASSIGN_OR_RETURN(since, ParseWhen("--since", options.since, now));
    *request->mutable_since() = ToProto(since);
  }
  if (!options.until.empty()) {
    CAMHERD_ASSIGN_OR_RETURN(until, ParseWhen("--until", options.until, now));
    *request->mutable_until() = ToProto(until);
  }
  if (since >= until) return WrongUsage("--since must be before --until");
  return absl::OkStatus();
}

std::string PlaceOf(const v1::Record& record) {
  if (!record.has_latitude() || !record.has_longitude()) return "";
  return absl::StrFormat("%.5f, %.5f", record.latitude(), record.longitude());
}

absl::Status ShowOne(int64_t record_id, HerdClient& client, Console& console) {
  v1::GetRecordRequest request;
  request.set_record_id(record_id);
  CAMHERD_ASSIGN_OR_RETURN(const v1::Record record, client.GetRecord(request));
  if (console.json()) {
    console.Out(absl::StrCat(ProtoToJson(record), "\n"));
    return absl::OkStatus();
  }
  console.Out(absl::StrCat(
      "record ", record.record_id(), " of ", Printable(record.camera_id()),
      ", ", LocalTime(FromProto(record.captured_at())), " to ",
      LocalTime(FromProto(record.last_captured_at())), ", ",
      record.frames_size(), " frames\nplace ",
      PlaceOf(record).empty() ? "not known" : PlaceOf(record), ", session ",
      Printable(record.session_id()), ", batch ", record.batch_seq(), "\n"));
  Table table({"FRAME#", "SECTION", "CLASS", "CONFIDENCE#", "BOX", "ZONE"});
  for (const v1::RecordSection& section : record.sections()) {
    for (const v1::Detection& detection : section.detections()) {
      const v1::Box& box = detection.box();
      table.Add({{.text = absl::StrCat(detection.frame_index())},
                 {.text = section.name()},
                 {.text = detection.class_name()},
                 {.text = absl::StrFormat("%.2f", detection.confidence())},
                 {.text = absl::StrFormat("%.0f,%.0f %.0f,%.0f", box.x1(),
                                          box.y1(), box.x2(), box.y2())},
                 {.text = detection.zone()}});
    }
  }
  if (!table.empty()) console.Out(table.ToText(console));
  for (const v1::ModelResult& model : record.models()) {
    if (model.outcome() == v1::OUTCOME_CODE_OK) continue;
    console.Out(absl::StrCat("model ", Printable(model.model()), ": ",
                             NameOf(model.outcome()), ": ",
                             Printable(model.reason()), "\n"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<absl::Time> ParseWhen(absl::string_view field,
                                     absl::string_view text, absl::Time now) {
  absl::Time time;
  std::string error;
  if (absl::ParseTime(absl::RFC3339_full, text, &time, &error) ||
      absl::ParseTime("%Y-%m-%d", text, &time, &error)) {
    return time;
  }
  const std::map<char, absl::Duration> units = {{'s', absl::Seconds(1)},
                                                {'m', absl::Minutes(1)},
                                                {'h', absl::Hours(1)},
                                                {'d', absl::Hours(24)}};
  int64_t number = 0;
  if (!text.empty() && units.contains(text.back()) &&
      absl::SimpleAtoi(text.substr(0, text.size() - 1), &number) &&
      number >= 0 && number < 1'000'000'000) {
    return now - number * units.at(text.back());
  }
  return WrongUsage(absl::StrCat(
      field,
      " must be a time such as 2026-08-01T10:15:00Z, a day such as 2026-08-01, "
      "or how long ago: 90s, 30m, 2h, 7d; got \"",
      text, "\""));
}

std::string ComplaintsOf(const v1::Record& record) {
  std::vector<std::string> names;
  for (const v1::RecordSection& section : record.sections()) {
    if (section.complaint() != 0) names.push_back(section.name());
  }
  return names.empty() ? "-" : absl::StrJoin(names, ",");
}

std::string SeenIn(const v1::Record& record) {
  std::map<std::string, int> counts;
  for (const v1::RecordSection& section : record.sections()) {
    for (const v1::Detection& detection : section.detections()) {
      ++counts[detection.class_name()];
    }
  }
  return absl::StrJoin(counts, ", ", [](std::string* out, const auto& entry) {
    absl::StrAppend(out, entry.second, " ", entry.first);
  });
}

absl::Status RunRecords(const RecordsOptions& options, HerdClient& client,
                        Console& console) {
  if (options.record_id != 0) {
    return ShowOne(options.record_id, client, console);
  }
  v1::ListRecordsRequest request;
  request.set_page_size(options.count);
  request.set_page_token(options.page_token);
  request.set_camera_id(options.camera_id);
  request.set_class_name(options.class_name);
  request.set_complaint_type(options.complaint_type);
  request.set_session_id(options.session_id);
  CAMHERD_RETURN_IF_ERROR(ReadTimes(options, &request));
  CAMHERD_ASSIGN_OR_RETURN(const v1::ListRecordsResponse listed,
                           client.ListRecords(request));
  if (console.json()) {
    console.Out(absl::StrCat(ProtoToJson(listed), "\n"));
    return absl::OkStatus();
  }
  Table table({"RECORD#", "TIME", "CAMERA", "FRAMES#", "COMPLAINTS", "SEEN"});
  for (const v1::Record& record : listed.records()) {
    table.Add({{.text = absl::StrCat(record.record_id())},
               {.text = LocalTime(FromProto(record.captured_at()))},
               {.text = record.camera_id()},
               {.text = absl::StrCat(record.frames_size())},
               {.text = ComplaintsOf(record), .colour = Colour::kYellow},
               {.text = SeenIn(record)}});
  }
  console.Out(table.ToText(console));
  if (!listed.next_page_token().empty()) {
    console.Say(
        absl::StrCat("there are older ones: the same with --page-token ",
                     Printable(listed.next_page_token())));
  }
  return absl::OkStatus();
}

absl::Status RunExport(const ExportOptions& options, HerdClient& client,
                       Console& console) {
  v1::ExportRecordsRequest request;
  CAMHERD_ASSIGN_OR_RETURN(
      const v1::ExportFormat format,
      EnumOf<v1::ExportFormat>("--format", options.format));
  request.set_format(format);
  request.set_camera_id(options.camera_id);
  CAMHERD_RETURN_IF_ERROR(ReadTimes(options, &request));
  CAMHERD_ASSIGN_OR_RETURN(const std::unique_ptr<OutputFile> file,
                           OutputFile::Create(options.file));
  double bytes = 0;
  double told = 0;
  const absl::Status exported = client.ExportRecords(
      request, [&](const v1::ExportRecordsResponse& answer) {
        const std::string& piece = answer.chunk();
        bytes += static_cast<double>(piece.size());
        if (!file->is_standard_output() && bytes - told >= 1e6) {
          console.Progress(absl::StrCat(ShortBytes(bytes), " exported"), false);
          told = bytes;
        }
        return file->Write(piece);
      });
  if (!exported.ok()) {
    if (bytes == 0) return exported;
    absl::Status broken(
        exported.code(),
        absl::StrCat("the export broke off after ", ShortBytes(bytes), ", ",
                     file->is_standard_output()
                         ? "so what was written is not whole: "
                         : "and its file was not written: ",
                     exported.message()));
    return IsUnreachable(exported) ? Unreachable(broken.message()) : broken;
  }
  CAMHERD_RETURN_IF_ERROR(file->Commit());
  if (!file->is_standard_output()) {
    console.Say(
        absl::StrCat(ShortBytes(bytes), " in ", Printable(options.file)));
  }
  return absl::OkStatus();
}

}  // namespace camherd::cli
