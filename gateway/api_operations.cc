// SPDX-License-Identifier: Apache-2.0
#include "gateway/api_operations.h"

#include <utility>

#include "camherd/v1/aggregator_service.pb.h"
#include "camherd/v1/capture_service.pb.h"
#include "camherd/v1/gateway.pb.h"
#include "camherd/v1/inference_service.pb.h"
#include "gateway/start_fields.h"

namespace camherd::gateway {
namespace {

using Operations = std::vector<ApiOperation>;

constexpr char kJpeg[] = "image/jpeg";
constexpr char kHtml[] = "text/html";
constexpr char kText[] = "text/plain";

constexpr char kStreamExample[] = R"({
  "stream_id": "0198f0a2-7c1e-7b52-9d3a-5f1f2c9be001",
  "session_id": "0198f0a2-7c1e-7b52-9d3a-5f1f2c9be002",
  "camera_id": "CAM-001", "process_name": "CAM-001",
  "rtsp_url": "rtsp://***:***@127.0.0.1:8554/demo",
  "interval_seconds": 3, "models": ["animals"], "sampling_mode": "auto",
  "transport": "tcp", "batch_size": 10, "desired_running": true,
  "state": "running", "state_since": "2026-08-01T10:15:00.000Z",
  "last_frame_at": "2026-08-01T10:20:00.000Z", "last_frame_age_seconds": 1.2,
  "accounting": {"due": 100, "captured": 98, "missed": {"late": 2},
                 "recorded": 90, "spooled": 8},
  "codec": "h264", "width": 1920, "height": 1080, "condition": "good"})";
constexpr char kRecordExample[] = R"({
  "record_id": 41, "camera_id": "CAM-001", "process_name": "CAM-001",
  "batch_seq": 7, "latitude": 26.4499, "longitude": 80.3319,
  "captured_at": "2026-08-01T10:15:00.000Z",
  "sections": [{"name": "stray_animal", "present": true, "complaint": 1,
    "detections": [{"class_name": "dog", "confidence": 0.89,
                    "box": {"x1": 220, "y1": 140, "x2": 330, "y2": 320}}]}]})";
constexpr char kGridExample[] = R"({
  "process_name": "CAM-001",
  "cells": [{"frame_seq": 31, "captured_at": "2026-08-01T10:15:00.000Z",
             "mean_luma": 181.5, "width": 1920, "height": 1080}]})";
constexpr char kCameraExample[] = R"({
  "camera_id": "CAM-001", "name": "North gate", "latitude": 26.4499,
  "longitude": 80.3319, "updated_at": "2026-08-01T10:15:00.000Z",
  "updated_by": "api", "revision": 3})";
constexpr char kModelExample[] = R"({
  "name": "animals", "state": "installing", "preparing": true,
  "progress_done": 11, "progress_total": 34,
  "progress_text": "Installing requirements, 11 of 34",
  "log_tail": ["Collecting numpy"]})";
constexpr char kStartExample[] = R"({
  "rtsp_url": "rtsp://127.0.0.1:8554/demo", "camera_id": "CAM-001",
  "models": ["animals"], "interval_seconds": 3})";
constexpr char kReadyExample[] = R"({
  "ready": true, "services": {"capture": {"ready": true},
  "inference": {"ready": true}, "aggregator": {"ready": true}}})";

std::string ListOf(const char* field, const char* example) {
  return std::string("{\"") + field + "\": [" + example + "]}";
}

// Codes of routes that ask a service, beyond those of all.
std::vector<HttpCode> With(std::vector<HttpCode> codes) {
  codes.push_back(HttpCode::kGatewayTimeout);
  return codes;
}

void AddEvents(Operations* all) {
  all->push_back(
      {.method = "GET",
       .path = "/api/v1/events",
       .tag = "events",
       .summary = "What changes, as it does.",
       .details = "`stream`, `record` and `model` hold what GET of it answers; "
                  "`reset` says that some may have been missed, `peer` whether "
                  "a service can be heard. Goes on until the reader goes.",
       .query = v1::EventsQuery::descriptor(),
       .answers = {{.description = "Server-sent events.",
                    .content_type = "text/event-stream"}}});
}

void AddStreams(Operations* all) {
  const auto* stream = v1::Stream::descriptor();
  all->push_back({.method = "GET",
                  .path = "/api/v1/streams",
                  .tag = "streams",
                  .summary = "Lists streams, newest first.",
                  .query = v1::ListStreamsRequest::descriptor(),
                  .query_rules = {.aliases = {{"state", {.field = "states"}}}},
                  .answers = {{.description = "A page of streams.",
                               .message = v1::ListStreamsResponse::descriptor(),
                               .example = ListOf("streams", kStreamExample)}},
                  .errors = With({})});
  all->push_back(
      {.method = "POST",
       .path = "/api/v1/streams",
       .tag = "streams",
       .summary = "Starts a stream, and answers at once, connected or not.",
       .body = v1::StartStreamRequest::descriptor(),
       .body_rules = StartRules(),
       .required = {"rtsp_url"},
       .body_example = kStartExample,
       .answers = {{.code = HttpCode::kCreated,
                    .description = "It is started.",
                    .message = v1::StartStreamResponse::descriptor(),
                    .example =
                        std::string("{\"stream\": ") + kStreamExample + "}"},
                   {.description = "It ran already, with the same fields.",
                    .message = v1::StartStreamResponse::descriptor(),
                    .example = std::string("{\"stream\": ") + kStreamExample +
                               ", \"already_running\": true}"}},
       .errors = With({HttpCode::kConflict, HttpCode::kTooManyRequests})});
  all->push_back({.method = "GET",
                  .path = "/api/v1/streams/{stream}",
                  .tag = "streams",
                  .summary = "Reads a stream.",
                  .answers = {{.description = "The stream.",
                               .message = stream,
                               .example = kStreamExample}},
                  .errors = With({HttpCode::kNotFound})});
  all->push_back(
      {.method = "PATCH",
       .path = "/api/v1/streams/{stream}",
       .tag = "streams",
       .summary = "Changes a running stream within its session.",
       .details = "What is left out stays as it is.",
       .body = v1::UpdateStreamRequest::descriptor(),
       .body_rules = {.hidden = {"stream"}},
       .body_example = R"({"interval_seconds": 5, "models": ["people"]})",
       .answers = {{.description = "The stream as it is now.",
                    .message = stream,
                    .example = kStreamExample}},
       .errors = With({HttpCode::kNotFound, HttpCode::kConflict,
                       HttpCode::kTooManyRequests})});
  all->push_back(
      {.method = "DELETE",
       .path = "/api/v1/streams/{stream}",
       .tag = "streams",
       .summary = "Stops a stream and forgets it.",
       .details = "Frames that are not recorded yet are counted as dropped.",
       .answers = {{.code = HttpCode::kNoContent,
                    .description = "It is not there, or not any more.",
                    .content_type = nullptr}},
       .errors = With({})});
  all->push_back(
      {.method = "POST",
       .path = "/api/v1/streams/{stream}/stop",
       .tag = "streams",
       .summary = "Stops a stream and renders the grid of its nine brightest "
                  "frames.",
       .details = "`grid_jpeg=true` puts the picture into the answer.",
       .query_rules = {.ignored = "grid_jpeg"},
       .body = v1::StopStreamRequest::descriptor(),
       .body_rules = {.hidden = {"stream"}},
       .body_example = "{}",
       .answers =
           {{.description = "The stream, and its grid or why there is "
                            "none.",
             .message = v1::StopStreamResponse::descriptor(),
             .example =
                 R"({"grid_reason": "Not enough frames captured: 4 of 9"})"}},
       .errors = With({HttpCode::kNotFound, HttpCode::kConflict})});
  all->push_back(
      {.method = "GET",
       .path = "/api/v1/streams/{stream}/latest.jpg",
       .tag = "streams",
       .summary = "The newest picture of a stream.",
       .query = v1::GetLatestFrameRequest::descriptor(),
       .query_rules = {.hidden = {"stream"}, .ignored = "v"},
       .answers = {{.description = "The picture.", .content_type = kJpeg},
                   {.code = HttpCode::kNotModified,
                    .description = "It is that of If-None-Match.",
                    .content_type = nullptr}},
       .errors = With({HttpCode::kNotFound, HttpCode::kNotImplemented})});
  all->push_back(
      {.method = "GET",
       .path = "/api/v1/streams/{stream}/live.mjpeg",
       .tag = "streams",
       .summary = "The pictures of a stream, each as it comes.",
       .details = "Goes on until the stream is stopped or the reader goes.",
       .query = v1::GetLatestFrameRequest::descriptor(),
       .query_rules = {.hidden = {"stream"}, .ignored = "v"},
       .answers = {{.description = "A JPEG a part.",
                    .content_type = "multipart/x-mixed-replace"}},
       .errors = With({HttpCode::kNotFound, HttpCode::kConflict})});
  all->push_back(
      {.method = "GET",
       .path = "/api/v1/streams/{stream}/grid.jpg",
       .tag = "streams",
       .summary = "The nine brightest frames as they are now, as a grid.",
       .answers = {{.description = "The picture.", .content_type = kJpeg},
                   {.code = HttpCode::kNotModified,
                    .description = "It is that of If-None-Match.",
                    .content_type = nullptr}},
       .errors = With({HttpCode::kNotFound, HttpCode::kConflict,
                       HttpCode::kTooManyRequests})});
  all->push_back({.method = "GET",
                  .path = "/api/v1/streams/{stream}/grid.json",
                  .tag = "streams",
                  .summary = "Time and brightness of the nine brightest frames "
                             "as they are now, brightest first.",
                  .answers = {{.description = "The cells, 0 to 9.",
                               .message = v1::Grid::descriptor(),
                               .example = kGridExample}},
                  .errors = With({HttpCode::kNotFound})});
  all->push_back(
      {.method = "POST",
       .path = "/api/v1/probe",
       .tag = "streams",
       .summary = "Tries a camera without starting a stream.",
       .details = "Takes up to a minute. 200 says that the probe has run, not "
                  "that the camera is well.",
       .body = v1::ProbeSourceRequest::descriptor(),
       .required = {"rtsp_url"},
       .body_example = R"({"rtsp_url": "rtsp://127.0.0.1:8554/demo"})",
       .answers = {{.description = "The steps up to the first that failed.",
                    .message = v1::ProbeReport::descriptor(),
                    .example =
                        R"({"ok": true, "steps": [{"step": "dns", "ok": true,
                            "elapsed_seconds": 0.01, "detail": "127.0.0.1",
                            "at": "2026-08-01T10:15:00.000Z"}]})"}},
       .errors = With({HttpCode::kTooManyRequests})});
}

void AddRecords(Operations* all) {
  all->push_back({.method = "GET",
                  .path = "/api/v1/records",
                  .tag = "records",
                  .summary = "Lists records, newest first.",
                  .query = v1::ListRecordsRequest::descriptor(),
                  .answers = {{.description = "A page of records.",
                               .message = v1::ListRecordsResponse::descriptor(),
                               .example = ListOf("records", kRecordExample)}},
                  .errors = With({})});
  all->push_back(
      {.method = "GET",
       .path = "/api/v1/records/export",
       .tag = "records",
       .summary = "The records as a file, sent as it is made.",
       .details = "What fails midway ends in a reset of the connection.",
       .query = v1::ExportRecordsRequest::descriptor(),
       .answers = {{.description = "The lines of predictions.json.",
                    .content_type = "application/x-ndjson"},
                   {.description = "The same objects as one array.",
                    .content_type = "application/json"},
                   {.description = "A line a record, for spreadsheets.",
                    .content_type = "text/csv"},
                   {.description = "A point a record (RFC 7946), for maps.",
                    .content_type = "application/geo+json"}},
       .errors = With({HttpCode::kTooManyRequests})});
  all->push_back({.method = "GET",
                  .path = "/api/v1/records/{record_id}",
                  .tag = "records",
                  .summary = "Reads a record.",
                  .answers = {{.description = "The record.",
                               .message = v1::Record::descriptor(),
                               .example = kRecordExample}},
                  .errors = With({HttpCode::kNotFound})});
  all->push_back(
      {.method = "GET",
       .path = "/api/v1/records/{record_id}/frame.jpg",
       .tag = "records",
       .summary = "A picture of a record, with boxes or without.",
       .query = v1::GetRecordImageRequest::descriptor(),
       .query_rules = {.hidden = {"record_id"}, .ignored = "v"},
       .answers = {{.description = "The picture.", .content_type = kJpeg},
                   {.code = HttpCode::kNotModified,
                    .description = "It is that of If-None-Match.",
                    .content_type = nullptr}},
       .errors = With({HttpCode::kNotFound})});
  all->push_back(
      {.method = "GET",
       .path = "/api/v1/grids",
       .tag = "records",
       .summary = "Lists the grids that were rendered, newest first.",
       .query = v1::ListGridsRequest::descriptor(),
       .answers = {{.description = "A page of grids.",
                    .message = v1::ListGridsResponse::descriptor(),
                    .example = ListOf("grids", kGridExample)}},
       .errors = With({})});
}

void AddCameras(Operations* all) {
  const auto* camera = v1::Camera::descriptor();
  all->push_back({.method = "GET",
                  .path = "/api/v1/cameras",
                  .tag = "cameras",
                  .summary = "Lists cameras.",
                  .query = v1::ListCamerasRequest::descriptor(),
                  .answers = {{.description = "A page of cameras.",
                               .message = v1::ListCamerasResponse::descriptor(),
                               .example = ListOf("cameras", kCameraExample)}},
                  .errors = With({})});
  all->push_back({.method = "GET",
                  .path = "/api/v1/cameras/{camera_id}",
                  .tag = "cameras",
                  .summary = "Reads a camera.",
                  .answers = {{.description = "The camera.",
                               .message = camera,
                               .example = kCameraExample}},
                  .errors = With({HttpCode::kNotFound})});
  all->push_back(
      {.method = "PUT",
       .path = "/api/v1/cameras/{camera_id}",
       .tag = "cameras",
       .summary = "Replaces a camera, or adds it.",
       .details = "What is left out is gone afterwards, masks and zones too.",
       .body = camera,
       .body_example = R"({"name": "North gate", "latitude": 26.4499,
                           "longitude": 80.3319})",
       .answers = {{.description = "The camera as it is now.",
                    .message = camera,
                    .example = kCameraExample}},
       .errors = With({HttpCode::kConflict, HttpCode::kTooManyRequests})});
  all->push_back(
      {.method = "POST",
       .path = "/api/v1/cameras/import",
       .tag = "cameras",
       .summary = "Imports a CSV of cameras.",
       .details = "Columns cameraID, latitude, longitude; at most 16 MiB of "
                  "UTF-8. Bad rows are reported, good ones load.",
       .body_type = "text/csv",
       .body_example = "cameraID,latitude,longitude\nCAM-001,26.4499,80.3319\n",
       .answers = {{.description = "What became of the rows.",
                    .message = v1::ImportCamerasResponse::descriptor(),
                    .example = R"({"added": 2, "errors": [{"line": 4,
                        "message": "latitude must be in [-90, 90], got 91"}]})"}},
       .errors = With({HttpCode::kTooManyRequests})});
}

void AddModels(Operations* all) {
  const auto* model = v1::Model::descriptor();
  all->push_back({.method = "GET",
                  .path = "/api/v1/models",
                  .tag = "models",
                  .summary = "Lists models.",
                  .answers = {{.description = "All models.",
                               .message = v1::ListModelsResponse::descriptor(),
                               .example = ListOf("models", kModelExample)}},
                  .errors = With({})});
  all->push_back({.method = "GET",
                  .path = "/api/v1/models/{name}",
                  .tag = "models",
                  .summary = "Reads a model: its state, the progress of its "
                             "preparation and the tail of the log.",
                  .answers = {{.description = "The model.",
                               .message = model,
                               .example = kModelExample}},
                  .errors = With({HttpCode::kNotFound})});
  all->push_back(
      {.method = "POST",
       .path = "/api/v1/models/{name}/prepare",
       .tag = "models",
       .summary = "Prepares a model; its progress is read by GET of the model.",
       .body = v1::PrepareModelRequest::descriptor(),
       .body_rules = {.hidden = {"name"}},
       .body_example = R"({"rebuild": false})",
       .answers = {{.code = HttpCode::kAccepted,
                    .description = "It is being prepared.",
                    .message = model,
                    .example = kModelExample},
                   {.description = "It was ready.",
                    .message = model,
                    .example = R"({"name": "animals", "state": "ready"})"}},
       .errors = With({HttpCode::kNotFound, HttpCode::kConflict,
                       HttpCode::kTooManyRequests})});
  all->push_back(
      {.method = "POST",
       .path = "/api/v1/models/{name}/unload",
       .tag = "models",
       .summary = "Stops a model's engine and gives its memory back.",
       .body = v1::UnloadModelRequest::descriptor(),
       .body_rules = {.hidden = {"name"}},
       .body_example = "{}",
       .answers = {{.description = "The model as it is now.",
                    .message = model,
                    .example = R"({"name": "animals", "state": "absent"})"}},
       .errors = With({HttpCode::kNotFound, HttpCode::kConflict})});
  all->push_back(
      {.method = "POST",
       .path = "/api/v1/detect",
       .tag = "models",
       .summary = "Boxes of one picture; nothing is recorded.",
       .details = "The body is a JPEG of at most 16 MiB.",
       .query = v1::DetectRequest::descriptor(),
       .required = {"model"},
       .body_type = kJpeg,
       .answers = {{.description = "The boxes, in pixels of the picture.",
                    .message = v1::DetectResponse::descriptor(),
                    .example =
                        R"({"detections": [{"class_name": "dog",
                            "confidence": 0.89, "box": {"x1": 220, "y1": 140,
                            "x2": 330, "y2": 320}}], "width": 640,
                            "height": 360, "engine": "openvino",
                            "device": "cpu"})"}},
       .errors = With({HttpCode::kNotFound, HttpCode::kConflict,
                       HttpCode::kTooManyRequests})});
}

void AddLogin(Operations* all) {
  const ApiAnswer session = {.description = "Who is asking, and may do what.",
                             .message = v1::Session::descriptor(),
                             .example = R"({
                               "auth_required": true, "authenticated": true,
                               "name": "alice", "role": "operator",
                               "cameras": ["CAM-001"],
                               "expires_at": "2026-08-01T22:15:00.000Z"})"};
  all->push_back({.method = "POST",
                  .path = "/api/v1/login",
                  .tag = "login",
                  .summary = "Makes a login of a token, for a page.",
                  .details = "The login is a cookie, `camherd_session`.",
                  .body = v1::LoginRequest::descriptor(),
                  .required = {"token"},
                  .body_example = R"({"token": "3f0c..."})",
                  .answers = {session},
                  .errors = {HttpCode::kConflict}});
  all->push_back({.method = "POST",
                  .path = "/api/v1/logout",
                  .tag = "login",
                  .summary = "Ends the login.",
                  .answers = {session}});
  all->push_back({.method = "GET",
                  .path = "/api/v1/session",
                  .tag = "login",
                  .summary = "Who is asking.",
                  .answers = {session}});
}

void AddOwn(Operations* all) {
  all->push_back({.method = "GET",
                  .path = "/api/v1/stats",
                  .tag = "health",
                  .summary = "All services in numbers, for a dashboard.",
                  .answers = {{.description = "What those told that answered.",
                               .message = v1::Stats::descriptor(),
                               .example = R"({
                                 "at": "2026-08-01T10:15:00.000Z",
                                 "services": {"capture": {"ready": true}},
                                 "streams": {"states": {"running": 12}},
                                 "records": {"last_record_id": 41}})"}}});
  all->push_back({.method = "GET",
                  .path = "/openapi.json",
                  .tag = "health",
                  .summary = "This document.",
                  .answers = {{.description = "OpenAPI 3.1."},
                              {.code = HttpCode::kNotModified,
                               .description = "It is that of If-None-Match.",
                               .content_type = nullptr}}});
  all->push_back({.method = "GET",
                  .path = "/livez",
                  .tag = "health",
                  .summary = "Says that this process answers.",
                  .answers = {{.description = "`ok`", .content_type = kText}}});
  all->push_back({.method = "GET",
                  .path = "/readyz",
                  .tag = "health",
                  .summary = "Says whether all services are ready; 503 and why "
                             "where one is not.",
                  .answers = {{.description = "All are ready.",
                               .message = v1::Readiness::descriptor(),
                               .example = kReadyExample},
                              {.code = HttpCode::kUnavailable,
                               .description = "One is not ready.",
                               .message = v1::Readiness::descriptor(),
                               .example = R"({"services": {"inference": {
                                   "reason": "the inference service cannot be reached"}}})"}}});
  all->push_back({.method = "GET",
                  .path = "/metrics",
                  .tag = "health",
                  .summary = "Metrics of the gateway, for Prometheus.",
                  .answers = {{.description = "Text format 0.0.4.",
                               .content_type = kText}}});
}

void AddDocuments(Operations* all) {
  all->push_back(
      {.method = "POST",
       .path = "/start_stream",
       .tag = "documents",
       .summary = "Starts a stream; `model_name` is `animals` if left out.",
       .body = v1::StartStreamRequest::descriptor(),
       .body_rules = StartRules(),
       .required = {"rtsp_url"},
       .body_example = R"({"rtsp_url": "rtsp://127.0.0.1:8554/demo",
                           "camera_id": "CAM-001", "model_name": "animals"})",
       .answers = {{.description = "It is started, or ran already.",
                    .message = v1::StreamStarted::descriptor(),
                    .example = R"({"message": "Stream started",
                        "camera_id": "CAM-001", "process_name": "CAM-001",
                        "state": "starting"})"}},
       .errors = With({HttpCode::kConflict, HttpCode::kTooManyRequests})});
  all->push_back(
      {.method = "POST",
       .path = "/start",
       .tag = "documents",
       .summary = "Starts a stream without a model; `interval` is 1 if left "
                  "out.",
       .body = v1::StartStreamRequest::descriptor(),
       .body_rules = StartRules(),
       .required = {"rtsp_url"},
       .body_example = R"({"rtsp_url": "rtsp://127.0.0.1:8554/demo",
                           "interval": 1})",
       .answers = {{.description = "`Video stream started: process_name=demo`",
                    .content_type = kText}},
       .errors = With({HttpCode::kConflict, HttpCode::kTooManyRequests})});
  all->push_back(
      {.method = "POST",
       .path = "/stop",
       .tag = "documents",
       .summary = "Stops a stream and shows its nine brightest frames.",
       .body = v1::StopStreamRequest::descriptor(),
       .body_rules = {.aliases = {{"process_name", {.field = "stream"}},
                                  {"stream_id", {.field = "stream"}},
                                  {"camera_id", {.field = "stream"}}}},
       .body_example = R"({"process_name": "demo"})",
       .answers = {{.description = "A page with the picture.",
                    .content_type = kHtml}},
       .errors = With({HttpCode::kNotFound, HttpCode::kConflict}),
       .html_errors = true});
}

}  // namespace

const std::vector<ApiOperation>& ApiOperations() {
  static const auto& operations = *[] {
    auto* all = new Operations;
    AddStreams(all);
    AddEvents(all);
    AddRecords(all);
    AddCameras(all);
    AddModels(all);
    AddLogin(all);
    AddOwn(all);
    AddDocuments(all);
    return all;
  }();
  return operations;
}

const std::vector<HttpCode>& CommonErrors() {
  static const auto& codes =
      *new std::vector<HttpCode>{HttpCode::kBadRequest,
                                 HttpCode::kUnauthorized,
                                 HttpCode::kForbidden,
                                 HttpCode::kRequestTimeout,
                                 HttpCode::kContentTooLarge,
                                 HttpCode::kUriTooLong,
                                 HttpCode::kUnsupportedMediaType,
                                 HttpCode::kExpectationFailed,
                                 HttpCode::kTooManyRequests,
                                 HttpCode::kHeadersTooLarge,
                                 HttpCode::kInternalError,
                                 HttpCode::kNotImplemented,
                                 HttpCode::kUnavailable,
                                 HttpCode::kVersionNotSupported};
  return codes;
}

}  // namespace camherd::gateway
