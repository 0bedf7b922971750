// SPDX-License-Identifier: Apache-2.0
#include "services/cli/stream_commands.h"

#include <memory>
#include <utility>

#include "absl/status/statusor.h"
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

// Into the fields of these names.
template <typename Request>
absl::Status ReadSource(const CameraSource& source, Request* request) {
  // In this order, since each may be a line of standard input.
  CAMHERD_ASSIGN_OR_RETURN(const std::string url, ReadUrl("URL", source.url));
  if (url.empty()) {
    return WrongUsage(
        "the camera's URL is missing: give it as the argument, or with "
        "--url-file or --url-env");
  }
  CAMHERD_ASSIGN_OR_RETURN(const std::string user,
                           ReadValue("user", source.user));
  CAMHERD_ASSIGN_OR_RETURN(const std::string password,
                           ReadValue("password", source.password));
  request->set_rtsp_url(url);
  request->set_user(user);
  request->set_password(password);
  if (!source.transport.empty()) {
    CAMHERD_ASSIGN_OR_RETURN(
        const auto transport,
        EnumOf<v1::Transport>("--transport", source.transport));
    request->set_transport(transport);
  }
  if (source.no_tls_verify) request->set_tls_verify(false);
  return absl::OkStatus();
}

std::string StateText(const v1::Stream& stream) {
  return absl::StrCat(NameOf(stream.state()),
                      stream.state_reason().empty() ? "" : ": ",
                      Printable(stream.state_reason()));
}

int64_t SumOf(const google::protobuf::Map<std::string, int64_t>& counts) {
  int64_t sum = 0;
  for (const auto& [reason, count] : counts) sum += count;
  return sum;
}

absl::Status StopOne(const std::string& name, HerdClient& client,
                     Console& console) {
  v1::StopStreamRequest request;
  request.set_stream(name);
  CAMHERD_ASSIGN_OR_RETURN(const v1::StopStreamResponse stopped,
                           client.StopStream(request));
  if (console.json()) {
    console.Out(absl::StrCat(ProtoToJson(stopped), "\n"));
    return absl::OkStatus();
  }
  const v1::Accounting& counts = stopped.stream().accounting();
  console.Out(absl::StrCat(
      "stopped ", Printable(stopped.stream().process_name()), ": ",
      counts.captured(), " frames captured, ", counts.recorded(), " recorded, ",
      counts.spooled(), " on their way, ", SumOf(counts.dropped()),
      " dropped; ",
      stopped.has_grid()
          ? absl::StrCat("grid images/", Printable(stopped.grid().file_name()))
          : absl::StrCat("no grid: ", Printable(stopped.grid_reason())),
      "\n"));
  return absl::OkStatus();
}

absl::StatusOr<v1::ListStreamsResponse> List(const LsOptions& options,
                                             HerdClient& client) {
  v1::ListStreamsRequest request;
  request.set_camera_id(options.camera_id);
  for (const std::string& state : options.states) {
    CAMHERD_ASSIGN_OR_RETURN(const auto value,
                             EnumOf<v1::StreamState>("--state", state));
    request.add_states(value);
  }
  CAMHERD_ASSIGN_OR_RETURN(v1::ListStreamsResponse listed,
                           client.ListStreams(request));
  if (options.all || !options.states.empty()) return listed;
  v1::ListStreamsResponse running;
  for (v1::Stream& stream : *listed.mutable_streams()) {
    if (stream.state() != v1::STREAM_STATE_STOPPED) {
      running.add_streams()->Swap(&stream);
    }
  }
  return running;
}

}  // namespace

Colour ColourOf(v1::StreamState state) {
  switch (state) {
    case v1::STREAM_STATE_RUNNING:
      return Colour::kGreen;
    case v1::STREAM_STATE_STARTING:
    case v1::STREAM_STATE_RECONNECTING:
      return Colour::kYellow;
    case v1::STREAM_STATE_STOPPING:
    case v1::STREAM_STATE_STOPPED:
      return Colour::kDim;
    default:
      return Colour::kRed;
  }
}

absl::Status RunStart(const StartOptions& options, HerdClient& client,
                      Console& console) {
  v1::StartStreamRequest request;
  CAMHERD_RETURN_IF_ERROR(ReadSource(options.source, &request));
  CAMHERD_ASSIGN_OR_RETURN(const std::string detect_url,
                           ReadUrl("detect URL", options.detect_url));
  request.set_detect_url(detect_url);
  request.set_camera_id(options.camera_id);
  *request.mutable_models() = {options.models.begin(), options.models.end()};
  if (options.interval_seconds.has_value()) {
    request.set_interval_seconds(*options.interval_seconds);
  }
  if (!options.sampling_mode.empty()) {
    CAMHERD_ASSIGN_OR_RETURN(
        const auto mode,
        EnumOf<v1::SamplingMode>("--mode", options.sampling_mode));
    request.set_sampling_mode(mode);
  }
  if (options.batch_size.has_value()) {
    request.set_batch_size(*options.batch_size);
  }
  request.set_ttl_seconds(options.ttl_seconds);
  request.set_max_frames(options.max_frames);
  CAMHERD_ASSIGN_OR_RETURN(const v1::StartStreamResponse started,
                           client.StartStream(request));
  if (console.json()) {
    console.Out(absl::StrCat(ProtoToJson(started), "\n"));
    return absl::OkStatus();
  }
  const v1::Stream& stream = started.stream();
  console.Out(absl::StrCat(
      started.already_running() ? "runs already: " : "started ",
      Printable(stream.process_name()), " (stream ",
      Printable(stream.stream_id()), "), every ",
      ShortNumber(stream.interval_seconds()), " s, ",
      stream.models().empty()
          ? "no model"
          : absl::StrCat("models ",
                         Printable(absl::StrJoin(stream.models(), ", "))),
      "; ", StateText(stream), "\n"));
  return absl::OkStatus();
}

absl::Status RunStop(const StopOptions& options, HerdClient& client,
                     Console& console) {
  std::vector<std::string> streams = options.streams;
  if (options.all != streams.empty()) {
    return WrongUsage("name the streams to stop, or give --all");
  }
  if (options.all) {
    CAMHERD_ASSIGN_OR_RETURN(const v1::ListStreamsResponse listed,
                             List({}, client));
    for (const v1::Stream& stream : listed.streams()) {
      if (stream.desired_running()) streams.push_back(stream.stream_id());
    }
  }
  absl::Status first;
  for (const std::string& name : streams) {
    const absl::Status status = StopOne(name, client, console);
    if (status.ok()) continue;
    if (IsUnreachable(status)) return status;
    if (first.ok()) {
      first = status;
    } else {
      console.Say(Printable(status.message()));
    }
  }
  return first;
}

absl::Status RunLs(const LsOptions& options, HerdClient& client,
                   Console& console) {
  CAMHERD_ASSIGN_OR_RETURN(const v1::ListStreamsResponse listed,
                           List(options, client));
  if (console.json()) {
    console.Out(absl::StrCat(ProtoToJson(listed), "\n"));
    return absl::OkStatus();
  }
  Table table({"NAME", "STATE", "FOR", "FRAME", "EVERY#", "MODELS", "CAPTURED#",
               "RECORDED#", "MISSED#", "CONDITION", "REASON"});
  const absl::Time now = Clock::Real().Now();
  for (const v1::Stream& stream : listed.streams()) {
    const v1::Accounting& counts = stream.accounting();
    table.Add(
        {{.text = stream.process_name()},
         {.text = NameOf(stream.state()), .colour = ColourOf(stream.state())},
         {.text = ShortAge(now - FromProto(stream.state_since()))},
         {.text = ShortAge(absl::Seconds(stream.last_frame_age_seconds()))},
         {.text = absl::StrCat(ShortNumber(stream.interval_seconds()), " s")},
         {.text = absl::StrJoin(stream.models(), ",")},
         {.text = absl::StrCat(counts.captured())},
         {.text = absl::StrCat(counts.recorded())},
         {.text = absl::StrCat(SumOf(counts.missed()))},
         {.text = stream.condition() == v1::CAMERA_CONDITION_UNSPECIFIED
                      ? ""
                      : NameOf(stream.condition())},
         {.text = stream.state_reason()}});
  }
  console.Out(table.ToText(console));
  return absl::OkStatus();
}

absl::Status RunGrid(const GridOptions& options, HerdClient& client,
                     Console& console) {
  v1::GetGridRequest request;
  request.set_stream(options.stream);
  request.set_cells_only(options.file.empty());
  CAMHERD_ASSIGN_OR_RETURN(const v1::GetGridResponse answer,
                           client.GetGrid(request));
  if (!options.file.empty()) {
    CAMHERD_ASSIGN_OR_RETURN(const std::unique_ptr<OutputFile> file,
                             OutputFile::Create(options.file));
    CAMHERD_RETURN_IF_ERROR(file->Write(answer.jpeg()));
    CAMHERD_RETURN_IF_ERROR(file->Commit());
    if (file->is_standard_output()) return absl::OkStatus();
  }
  if (console.json()) {
    console.Out(absl::StrCat(ProtoToJson(answer), "\n"));
    return absl::OkStatus();
  }
  if (!options.file.empty()) {
    console.Out(absl::StrCat(
        Printable(options.file), ": the ", answer.grid().cells_size(),
        " brightest frames of ", Printable(options.stream), "\n"));
    return absl::OkStatus();
  }
  Table table({"CELL#", "TIME", "BRIGHTNESS#", "SIZE"});
  for (int i = 0; i < answer.grid().cells_size(); ++i) {
    const v1::FrameInfo& cell = answer.grid().cells(i);
    table.Add({{.text = absl::StrCat(i + 1)},
               {.text = LocalTime(FromProto(cell.captured_at()))},
               {.text = absl::StrFormat("%.1f", cell.mean_luma())},
               {.text = absl::StrCat(cell.width(), "x", cell.height())}});
  }
  console.Out(table.ToText(console));
  return absl::OkStatus();
}

absl::Status RunProbe(const CameraSource& options, HerdClient& client,
                      Console& console) {
  v1::ProbeSourceRequest request;
  CAMHERD_RETURN_IF_ERROR(ReadSource(options, &request));
  std::string failed;
  CAMHERD_RETURN_IF_ERROR(
      client.ProbeSource(request, [&](const v1::ProbeSourceResponse& step) {
        if (!step.ok()) failed = NameOf(step.step());
        if (console.json()) {
          console.Out(absl::StrCat(ProtoToJson(step), "\n"));
          return absl::OkStatus();
        }
        const std::string word =
            console.Paint(step.ok() ? Colour::kGreen : Colour::kRed,
                          absl::StrFormat("%-6s", step.ok() ? "ok" : "failed"));
        console.Out(absl::StrFormat(
            "%-8s  %s  %6.2f s  %s\n", NameOf(step.step()), word,
            step.elapsed_seconds(), Printable(step.detail())));
        if (!step.hint().empty()) {
          console.Out(absl::StrCat("          ", Printable(step.hint()), "\n"));
        }
        return absl::OkStatus();
      }));
  if (failed.empty()) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("the camera failed at the step ", failed));
}

}  // namespace camherd::cli
