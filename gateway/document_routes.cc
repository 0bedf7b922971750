// SPDX-License-Identifier: Apache-2.0
#include "gateway/document_routes.h"

#include <set>
#include <string>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "camherd/v1/gateway.pb.h"
#include "gateway/answers.h"
#include "gateway/html.h"
#include "gateway/http_status.h"
#include "gateway/request_fields.h"
#include "gateway/route_row.h"
#include "gateway/start_fields.h"
#include "services/common/camera_url.h"
#include "services/common/proto_json.h"
#include "services/common/retry_delay.h"
#include "services/common/status_macros.h"
#include "services/common/time_proto.h"

namespace camherd::gateway {
namespace {

constexpr char kDefaultModel[] = "animals";
constexpr double kDefaultStartInterval = 1;

absl::StatusOr<v1::StartStreamRequest> ReadStart(const HttpRequest& request,
                                                 bool default_model) {
  v1::StartStreamRequest start;
  std::set<std::string> given;
  CAMHERD_RETURN_IF_ERROR(ReadBody(request, StartRules(), &start, &given));
  if (start.rtsp_url().empty()) {
    return absl::InvalidArgumentError(
        given.count("rtsp_url") > 0 ? "rtsp_url must not be empty, got \"\""
                                    : "rtsp_url must be given");
  }
  // `"models": []` asks for none; saying nothing, or null, for the default.
  if (default_model && given.count("models") == 0) {
    start.add_models(kDefaultModel);
  }
  return start;
}

// The service names its own field; the caller may have used the document's.
absl::Status InCallersWords(const absl::Status& status,
                            const HttpRequest& request) {
  absl::string_view message = status.message();
  if (absl::ConsumePrefix(&message, "interval_seconds ") &&
      !absl::StrContains(request.body, "interval_seconds")) {
    return absl::Status(status.code(), absl::StrCat("interval ", message));
  }
  return status;
}

absl::StatusOr<v1::StartStreamResponse> Start(
    BackendClients& clients, const v1::StartStreamRequest& start,
    const HttpRequest& request) {
  absl::StatusOr<v1::StartStreamResponse> started = clients.StartStream(start);
  if (!started.ok()) return InCallersWords(started.status(), request);
  return started;
}

std::string StateText(const v1::Stream& stream) {
  const auto* value =
      v1::StreamState_descriptor()->FindValueByNumber(stream.state());
  return value == nullptr ? "" : EnumText(*value);
}

absl::StatusOr<HttpResponse> StartStream(BackendClients& clients,
                                         const HttpRequest& request) {
  CAMHERD_ASSIGN_OR_RETURN(const v1::StartStreamRequest start,
                           ReadStart(request, /*default_model=*/true));
  CAMHERD_ASSIGN_OR_RETURN(const v1::StartStreamResponse started,
                           Start(clients, start, request));
  const v1::Stream& stream = started.stream();
  v1::StreamStarted answer;
  answer.set_message("Stream started");
  answer.set_stream_id(stream.stream_id());
  answer.set_session_id(stream.session_id());
  answer.set_camera_id(stream.camera_id());
  answer.set_process_name(stream.process_name());
  answer.set_state(stream.state());
  return JsonAnswer(answer);
}

absl::StatusOr<HttpResponse> StartVideo(BackendClients& clients,
                                        const HttpRequest& request) {
  CAMHERD_ASSIGN_OR_RETURN(v1::StartStreamRequest start,
                           ReadStart(request, /*default_model=*/false));
  if (!start.has_interval_seconds()) {
    start.set_interval_seconds(kDefaultStartInterval);
  }
  CAMHERD_ASSIGN_OR_RETURN(const v1::StartStreamResponse started,
                           Start(clients, start, request));
  HttpResponse response;
  response.content_type = "text/plain; charset=utf-8";
  response.body = absl::StrCat("Video stream started: process_name=",
                               started.stream().process_name());
  return response;
}

HttpResponse ErrorPage(const absl::Status& status, absl::string_view more) {
  const HttpCode code = ToHttpCode(status.code());
  HttpResponse response = HtmlPage(
      code, ReasonPhrase(code),
      absl::StrCat("<h1>", ReasonPhrase(code), "</h1>\n<p>",
                   EscapeHtml(MaskSecrets(status.message())), "</p>\n", more));
  if (const auto delay = RetryDelay(status)) {
    response.headers.emplace_back("Retry-After",
                                  absl::StrCat(absl::ToInt64Seconds(
                                      absl::Ceil(*delay, absl::Seconds(1)))));
  }
  return response;
}

// What runs, so that a wrong name can be put right.
HttpResponse UnknownStream(BackendClients& clients, const std::string& name) {
  std::string rows;
  v1::ListStreamsRequest list;
  list.set_page_size(1000);
  // Asked for by state: there may be a thousand newer ones that are stopped.
  const auto& states = *v1::StreamState_descriptor();
  for (int i = 0; i < states.value_count(); ++i) {
    const auto state = static_cast<v1::StreamState>(states.value(i)->number());
    if (state != v1::STREAM_STATE_UNSPECIFIED &&
        state != v1::STREAM_STATE_STOPPED) {
      list.add_states(state);
    }
  }
  if (const auto listed = clients.ListStreams(list); listed.ok()) {
    for (const v1::Stream& stream : listed->streams()) {
      absl::StrAppend(&rows, "<tr><td>", EscapeHtml(stream.process_name()),
                      "</td><td>", EscapeHtml(stream.camera_id()), "</td><td>",
                      EscapeHtml(StateText(stream)), "</td></tr>\n");
    }
  }
  return ErrorPage(
      absl::NotFoundError(
          absl::StrCat("No stream process is named \"", name, "\".")),
      rows.empty()
          ? "<p>No stream is running.</p>"
          : absl::StrCat("<p>Running:</p>\n<table>\n<tr><th>process_name</th>"
                         "<th>camera_id</th><th>state</th></tr>\n",
                         rows, "</table>"));
}

HttpResponse GridPage(const v1::StopStreamResponse& stopped) {
  const v1::Stream& stream = stopped.stream();
  std::string cells;
  for (const v1::FrameInfo& cell : stopped.grid().cells()) {
    absl::StrAppend(&cells, "<tr><td>",
                    EscapeHtml(FormatRfc3339(FromProto(cell.captured_at()))),
                    "</td><td>", absl::StrFormat("%.1f", cell.mean_luma()),
                    "</td></tr>\n");
  }
  const std::string name = EscapeHtml(stream.process_name());
  return HtmlPage(
      HttpCode::kOk, absl::StrCat(stream.process_name(), " - brightest frames"),
      absl::StrCat(
          "<h1>", name, "</h1>\n<p>The stream is stopped. These are the ",
          stopped.grid().cells_size(), " brightest of its ",
          stream.accounting().captured(),
          " frames, brightest first.</p>\n<img alt=\"The brightest frames of ",
          name, "\" src=\"data:image/jpeg;base64,",
          absl::Base64Escape(stopped.grid_jpeg()),
          "\">\n<table>\n<tr><th>captured at</th><th>brightness (0 to "
          "255)</th></tr>\n",
          cells, "</table>\n<p>Saved as images/",
          EscapeHtml(stopped.grid().file_name()), "</p>"));
}

absl::StatusOr<std::string> ReadProcessName(const HttpRequest& request) {
  v1::StopStreamRequest stop;
  // The document's name, and those that the other answers use.
  const FieldRules rules = {.aliases = {{"process_name", {.field = "stream"}},
                                        {"stream_id", {.field = "stream"}},
                                        {"camera_id", {.field = "stream"}}}};
  CAMHERD_RETURN_IF_ERROR(ReadBody(request, rules, &stop));
  if (stop.stream().empty()) {
    return absl::InvalidArgumentError(
        "process_name must be given and not be empty");
  }
  return stop.stream();
}

absl::StatusOr<HttpResponse> Stop(BackendClients& clients,
                                  const HttpRequest& request) {
  const absl::StatusOr<std::string> name = ReadProcessName(request);
  if (!name.ok()) return ErrorPage(name.status(), "");
  v1::StopStreamRequest stop;
  stop.set_stream(*name);
  const absl::StatusOr<v1::StopStreamResponse> stopped =
      clients.StopStream(stop);
  if (absl::IsNotFound(stopped.status())) {
    return UnknownStream(clients, *name);
  }
  if (!stopped.ok()) return ErrorPage(stopped.status(), "");
  if (!stopped->grid_jpeg().empty()) return GridPage(*stopped);
  const std::string& reason = stopped->grid_reason();
  // Too few frames is for good; a service that is away comes back.
  const bool too_few = absl::StartsWith(reason, "Not enough frames");
  HttpResponse response = HtmlPage(
      too_few ? HttpCode::kConflict : HttpCode::kUnavailable,
      stopped->stream().process_name(),
      absl::StrCat("<h1>", EscapeHtml(stopped->stream().process_name()),
                   "</h1>\n<p>", EscapeHtml(MaskSecrets(reason)),
                   "</p>\n<p>The stream is stopped.</p>"));
  if (!too_few) response.headers.emplace_back("Retry-After", "5");
  return response;
}

}  // namespace

Routes DocumentRoutes(BackendClients& clients) {
  const auto row = [&clients](const char* path, BackendHandler handler) {
    return BackendRoute(clients, Lane::kCapture, Access::For(Role::kOperator),
                        "POST", path, handler);
  };
  return {
      row("/start_stream", StartStream),
      row("/start", StartVideo),
      row("/stop", Stop),
  };
}

}  // namespace camherd::gateway
