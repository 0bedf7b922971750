// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "gateway/camera_routes.h"
#include "gateway/document_routes.h"
#include "gateway/model_routes.h"
#include "gateway/openapi_routes.h"
#include "gateway/page_routes.h"
#include "gateway/probe_routes.h"
#include "gateway/record_routes.h"
#include "gateway/stats_routes.h"
#include "gateway/stream_routes.h"
#include "services/common/retry_delay.h"
#include "tests/unit/gateway/fake_backends.h"

// The handlers, called without a socket, against real gRPC services in this
// process.
namespace camherd::gateway {
namespace {

using ::testing::Contains;
using ::testing::ContainsRegex;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::Pair;

constexpr char kJson[] = "application/json";
constexpr char kForm[] = "application/x-www-form-urlencoded";

class RoutesTest : public ::testing::Test {
 protected:
  RoutesTest() : clients_(fake_.ClientOptions()) {
    for (Routes routes :
         {DocumentRoutes(clients_), StreamRoutes(clients_),
          ProbeRoutes(clients_), RecordRoutes(clients_), CameraRoutes(clients_),
          ModelRoutes(clients_), StatsRoutes(clients_), OpenApiRoutes(),
          PageRoutes("")}) {
      for (Route& route : routes) routes_.push_back(std::move(route));
    }
    v1::Stream* stream = fake_.answers.start.mutable_stream();
    stream->set_stream_id("stream-1");
    stream->set_session_id("session-1");
    stream->set_camera_id("CAM-001");
    stream->set_process_name("demo");
    stream->set_state(v1::STREAM_STATE_STARTING);
    *fake_.answers.stop.mutable_stream() = *stream;
    fake_.answers.stop.mutable_stream()->set_state(v1::STREAM_STATE_STOPPED);
  }

  HttpResponse Call(const std::string& method, const std::string& target,
                    const std::string& body = "", const std::string& type = "",
                    const Fields& headers = {}) {
    HttpRequest request;
    request.method = method;
    const std::vector<std::string> parts =
        absl::StrSplit(target, absl::MaxSplits('?', 1));
    request.path = parts[0];
    if (parts.size() > 1) request.query = parts[1];
    request.body = body;
    request.headers = headers;
    if (!type.empty()) request.headers.emplace_back("content-type", type);
    for (const Route& route : routes_) {
      if (route.method == method &&
          MatchesTemplate(request.path, route.path, &request.path_values)) {
        return route.handler(request);
      }
    }
    ADD_FAILURE() << "no route for " << method << " " << target;
    return {};
  }

  static int Code(const HttpResponse& response) {
    return static_cast<int>(response.code);
  }
  static std::string Message(const HttpResponse& response) {
    return nlohmann::json::parse(response.body)["error"]["message"];
  }

  FakeBackends fake_;
  BackendClients clients_;
  Routes routes_;
};

TEST_F(RoutesTest, StartStreamAnswersTheDocumentsJson) {
  const HttpResponse response =
      Call("POST", "/start_stream",
           R"({"rtsp_url":"rtsp://127.0.0.1/demo","camera_id":"CAM-001",
               "model_name":"animals"})",
           kJson);
  EXPECT_EQ(Code(response), 200);
  EXPECT_EQ(response.body,
            "{\"message\":\"Stream started\",\"stream_id\":\"stream-1\","
            "\"session_id\":\"session-1\",\"camera_id\":\"CAM-001\","
            "\"process_name\":\"demo\",\"state\":\"starting\"}\n");
  const auto asked = fake_.Last<v1::StartStreamRequest>();
  EXPECT_EQ(asked.rtsp_url(), "rtsp://127.0.0.1/demo");
  EXPECT_EQ(asked.camera_id(), "CAM-001");
  EXPECT_THAT(asked.models(), ElementsAre("animals"));
  EXPECT_FALSE(asked.has_interval_seconds());
}

TEST_F(RoutesTest, StartStreamTakesAForm) {
  EXPECT_EQ(
      Code(Call("POST", "/start_stream",
                "rtsp_url=rtsp%3A%2F%2F127.0.0.1%2Fdemo&interval=2.5", kForm)),
      200);
  const auto asked = fake_.Last<v1::StartStreamRequest>();
  EXPECT_EQ(asked.interval_seconds(), 2.5);
  EXPECT_THAT(asked.models(), ElementsAre("animals"));
}

TEST_F(RoutesTest, AnEmptyListOfModelsMeansNone) {
  Call("POST", "/start_stream",
       R"({"rtsp_url":"rtsp://127.0.0.1/demo","models":[]})", kJson);
  EXPECT_THAT(fake_.Last<v1::StartStreamRequest>().models(), ElementsAre());
}

TEST_F(RoutesTest, AModelNameOfNullMeansTheDefault) {
  for (const char* field : {"model_name", "models"}) {
    Call("POST", "/start_stream",
         absl::StrCat(R"({"rtsp_url":"rtsp://127.0.0.1/demo",")", field,
                      "\":null}"),
         kJson);
    EXPECT_THAT(fake_.Last<v1::StartStreamRequest>().models(),
                ElementsAre("animals"))
        << field;
  }
  EXPECT_EQ(fake_.request_count(), 2u);
}

TEST_F(RoutesTest, StartAnswersTheDocumentsText) {
  const HttpResponse response =
      Call("POST", "/start", "rtsp_url=rtsp://127.0.0.1:8554/demo", kForm);
  EXPECT_EQ(Code(response), 200);
  EXPECT_EQ(response.body, "Video stream started: process_name=demo");
  EXPECT_THAT(response.content_type, HasSubstr("text/plain"));
  const auto asked = fake_.Last<v1::StartStreamRequest>();
  EXPECT_EQ(asked.interval_seconds(), 1);
  EXPECT_THAT(asked.models(), ElementsAre());
}

TEST_F(RoutesTest, StopShowsTheGridAsADataUri) {
  fake_.answers.stop.set_grid_jpeg("\xff\xd8\xff\xe0");
  fake_.answers.stop.mutable_grid()->set_file_name("demo_1.jpg");
  fake_.answers.stop.mutable_grid()->add_cells()->set_mean_luma(200);
  const HttpResponse response =
      Call("POST", "/stop", "process_name=demo", kForm);
  EXPECT_EQ(Code(response), 200);
  EXPECT_THAT(response.content_type, HasSubstr("text/html"));
  EXPECT_THAT(response.body,
              HasSubstr("src=\"data:image/jpeg;base64,/9j/4A==\""));
  EXPECT_THAT(response.body, HasSubstr("images/demo_1.jpg"));
  EXPECT_EQ(fake_.Last<v1::StopStreamRequest>().stream(), "demo");
}

TEST_F(RoutesTest, StopTooEarlyIsAConflictThatSaysHowManyFramesThereWere) {
  fake_.answers.stop.set_grid_reason("Not enough frames captured: 4 of 9");
  const HttpResponse response =
      Call("POST", "/stop", R"({"process_name":"demo"})", kJson);
  EXPECT_EQ(Code(response), 409);
  EXPECT_THAT(response.body, HasSubstr("Not enough frames captured: 4 of 9"));
}

TEST_F(RoutesTest, StopWithoutAnAggregatorCanBeRepeated) {
  fake_.answers.stop.set_grid_reason("the aggregator is away");
  const HttpResponse response =
      Call("POST", "/stop", "process_name=demo", kForm);
  EXPECT_EQ(Code(response), 503);
  EXPECT_THAT(response.headers, Contains(Pair("Retry-After", "5")));
}

TEST_F(RoutesTest, StopOfAnUnknownNameListsWhatRuns) {
  v1::Stream* running = fake_.answers.streams.add_streams();
  running->set_process_name("gate-3");
  running->set_state(v1::STREAM_STATE_RUNNING);
  v1::Stream* stopped = fake_.answers.streams.add_streams();
  stopped->set_process_name("old-one");
  stopped->set_state(v1::STREAM_STATE_STOPPED);
  fake_.FailWith(absl::NotFoundError("no such stream"));
  const HttpResponse response =
      Call("POST", "/stop", "process_name=%3Cscript%3E", kForm);
  EXPECT_EQ(Code(response), 404);
  EXPECT_THAT(response.body, HasSubstr("gate-3"));
  EXPECT_THAT(response.body, HasSubstr("running"));
  EXPECT_THAT(response.body, Not(HasSubstr("old-one")));
  EXPECT_THAT(response.body, HasSubstr("&lt;script&gt;"));
  EXPECT_THAT(response.body, Not(HasSubstr("<script>")));
}

TEST_F(RoutesTest, StopOfAnUnknownNameListsWhatRunsBehindAThousandStopped) {
  for (int i = 0; i < 1000; ++i) {
    fake_.answers.streams.add_streams()->set_state(v1::STREAM_STATE_STOPPED);
  }
  v1::Stream* running = fake_.answers.streams.add_streams();
  running->set_process_name("gate-3");
  running->set_state(v1::STREAM_STATE_RUNNING);
  fake_.FailWith(absl::NotFoundError("no such stream"));
  EXPECT_THAT(Call("POST", "/stop", "process_name=nosuch", kForm).body,
              HasSubstr("gate-3"));
}

struct BadStart {
  const char* name;
  const char* target;
  const char* body;
  const char* type;
  const char* message;
};
class BadStartTest : public RoutesTest,
                     public ::testing::WithParamInterface<BadStart> {};

TEST_P(BadStartTest, IsABadRequestThatNamesFieldAndValueAndReachesNoService) {
  const HttpResponse response =
      Call("POST", GetParam().target, GetParam().body, GetParam().type);
  EXPECT_EQ(Code(response), 400);
  EXPECT_THAT(Message(response), HasSubstr(GetParam().message));
  EXPECT_EQ(fake_.request_count(), 0u);
}

INSTANTIATE_TEST_SUITE_P(
    Routes, BadStartTest,
    ::testing::Values(
        BadStart{"not_json", "/start_stream", "{rtsp_url", kJson,
                 "not valid JSON"},
        BadStart{"no_url", "/start_stream", "{}", kJson,
                 "rtsp_url must be given"},
        BadStart{"no_url_in_form", "/start", "interval=1", kForm,
                 "rtsp_url must be given"},
        BadStart{"empty_url", "/start_stream", R"({"rtsp_url":""})", kJson,
                 "rtsp_url must not be empty"},
        BadStart{"null_url", "/start_stream", R"({"rtsp_url":null})", kJson,
                 "rtsp_url must be given"},
        BadStart{"url_is_a_number", "/start_stream", R"({"rtsp_url":5})", kJson,
                 "rtsp_url must be a string"},
        BadStart{"interval_is_text", "/start_stream",
                 R"({"rtsp_url":"rtsp://h/a","interval_seconds":"abc"})", kJson,
                 "interval_seconds must be a number, got \"abc\""},
        BadStart{"interval_nan", "/start", "rtsp_url=rtsp://h/a&interval=nan",
                 kForm, "interval must be a number, got \"nan\""},
        BadStart{"unknown_field", "/start_stream",
                 R"({"rtsp_url":"rtsp://h/a","colour":"red"})", kJson,
                 "unknown field \"colour\""},
        BadStart{"unknown_form_field", "/start", "rtsp_url=rtsp://h/a&fps=5",
                 kForm, "unknown field \"fps\""},
        BadStart{"json_as_form", "/start_stream",
                 R"({"rtsp_url":"rtsp://h/a"})", kForm,
                 "Content-Type: application/json"},
        BadStart{"text_plain", "/start_stream", R"({"rtsp_url":"rtsp://h/a"})",
                 "text/plain", "Content-Type must be application/json"},
        BadStart{"model_is_a_number", "/start_stream",
                 R"({"rtsp_url":"rtsp://h/a","model_name":7})", kJson,
                 "model_name must be a string"},
        BadStart{"empty_model_in_form", "/start_stream",
                 "rtsp_url=rtsp://h/a&model_name=", kForm,
                 "model_name must match [A-Za-z0-9][A-Za-z0-9._-]{0,63}, got "
                 "\"\""},
        BadStart{"query", "/start?rtsp_url=rtsp://h/a", "", kForm,
                 "not into the query string"}),
    [](const auto& info) { return info.param.name; });

TEST_F(RoutesTest, AServicesErrorKeepsItsCodeMessageAndDelay) {
  fake_.FailWith(WithRetryDelay(absl::UnavailableError("animals is loading"),
                                absl::Seconds(3)));
  const HttpResponse response =
      Call("POST", "/start_stream", R"({"rtsp_url":"rtsp://h/a"})", kJson);
  EXPECT_EQ(Code(response), 503);
  EXPECT_EQ(Message(response), "animals is loading");
  EXPECT_THAT(response.headers, Contains(Pair("Retry-After", "3")));
}

TEST_F(RoutesTest, AnIntervalOutOfRangeIsNamedAsTheCallerNamedIt) {
  fake_.FailWith(absl::InvalidArgumentError(
      "interval_seconds must be in [0.1, 86400], got 0"));
  EXPECT_EQ(
      Message(Call("POST", "/start", "rtsp_url=rtsp://h/a&interval=0", kForm)),
      "interval must be in [0.1, 86400], got 0");
  EXPECT_EQ(
      Message(Call("POST", "/start_stream",
                   R"({"rtsp_url":"rtsp://h/a","interval_seconds":0})", kJson)),
      "interval_seconds must be in [0.1, 86400], got 0");
}

TEST_F(RoutesTest, AServiceThatIsAwayIsNamed) {
  fake_.Shutdown();
  const HttpResponse response = Call("GET", "/api/v1/streams");
  EXPECT_EQ(Code(response), 503);
  EXPECT_EQ(Message(response), "the capture service cannot be reached");
}

TEST_F(RoutesTest, AServiceThatHangsIsGivenUpInTime) {
  BackendClients::Options options = fake_.ClientOptions();
  options.timeout = absl::Milliseconds(100);
  BackendClients clients(options);
  fake_.Hang(true);
  const auto listed = clients.ListStreams(v1::ListStreamsRequest());
  EXPECT_TRUE(absl::IsDeadlineExceeded(listed.status()));
  EXPECT_THAT(std::string(listed.status().message()),
              HasSubstr("the capture service did not answer within 100ms"));
}

TEST_F(RoutesTest, StartingByRestIsCreatedOnceAndFoundAgain) {
  const HttpResponse created =
      Call("POST", "/api/v1/streams", R"({"rtsp_url":"rtsp://h/a"})", kJson);
  EXPECT_EQ(Code(created), 201);
  EXPECT_THAT(created.headers,
              Contains(Pair("Location", "/api/v1/streams/stream-1")));
  fake_.answers.start.set_already_running(true);
  EXPECT_EQ(Code(Call("POST", "/api/v1/streams", R"({"rtsp_url":"rtsp://h/a"})",
                      kJson)),
            200);
}

TEST_F(RoutesTest, ListsStreamsByState) {
  v1::Stream* stream = fake_.answers.streams.add_streams();
  stream->set_process_name("demo");
  stream->set_state(v1::STREAM_STATE_RUNNING);
  const HttpResponse response =
      Call("GET", "/api/v1/streams?state=running,starting&page_size=5");
  EXPECT_EQ(nlohmann::json::parse(response.body)["streams"][0]["process_name"],
            "demo");
  const auto asked = fake_.Last<v1::ListStreamsRequest>();
  EXPECT_EQ(asked.page_size(), 5);
  EXPECT_THAT(asked.states(),
              ElementsAre(v1::STREAM_STATE_RUNNING, v1::STREAM_STATE_STARTING));
  EXPECT_EQ(Code(Call("GET", "/api/v1/streams?state=asleep")), 400);
  EXPECT_EQ(Code(Call("GET", "/api/v1/streams?state=")), 400);
  EXPECT_EQ(Code(Call("GET", "/api/v1/streams?page=2")), 400);
}

TEST_F(RoutesTest, ChangesStopsAndForgetsAStream) {
  fake_.answers.stream.set_stream_id("stream-1");
  EXPECT_EQ(Code(Call("PATCH", "/api/v1/streams/demo",
                      R"({"interval_seconds":7,"models":["people"]})", kJson)),
            200);
  const auto update = fake_.Last<v1::UpdateStreamRequest>();
  EXPECT_EQ(update.stream(), "demo");
  EXPECT_EQ(update.interval_seconds(), 7);
  EXPECT_THAT(update.models().names(), ElementsAre("people"));
  EXPECT_EQ(Code(Call("PATCH", "/api/v1/streams/demo", R"({"stream":"other"})",
                      kJson)),
            400);

  fake_.answers.stop.set_grid_jpeg("\xff\xd8\xff");
  const HttpResponse stopped =
      Call("POST", "/api/v1/streams/demo/stop?grid_jpeg=true");
  EXPECT_EQ(nlohmann::json::parse(stopped.body)["grid_jpeg"], "/9j/");
  EXPECT_FALSE(
      nlohmann::json::parse(Call("POST", "/api/v1/streams/demo/stop").body)
          .contains("grid_jpeg"));

  EXPECT_EQ(Code(Call("DELETE", "/api/v1/streams/demo")), 204);
  EXPECT_EQ(fake_.Last<v1::DeleteStreamRequest>().stream(), "demo");
}

TEST_F(RoutesTest, APictureIsSentOnceAndThenConfirmed) {
  fake_.answers.frame.mutable_frame()->set_jpeg("\xff\xd8picture");
  fake_.answers.frame.mutable_frame()->mutable_info()->set_sha256("abc");
  const HttpResponse first =
      Call("GET", "/api/v1/streams/demo/latest.jpg?width=320&boxes=true");
  EXPECT_EQ(Code(first), 200);
  EXPECT_EQ(first.content_type, "image/jpeg");
  EXPECT_EQ(fake_.Last<v1::GetLatestFrameRequest>().width(), 320);
  std::string tag;
  for (const auto& [name, value] : first.headers) {
    if (name == "ETag") tag = value;
  }
  ASSERT_FALSE(tag.empty());
  const HttpResponse second =
      Call("GET", "/api/v1/streams/demo/latest.jpg?width=320&boxes=true", "",
           "", {{"if-none-match", tag}});
  EXPECT_EQ(Code(second), 304);
  EXPECT_EQ(second.body, "");
}

TEST_F(RoutesTest, TellsTimeAndBrightnessOfEachCellOfTheGrid) {
  v1::FrameInfo* cell = fake_.answers.grid.mutable_grid()->add_cells();
  cell->mutable_captured_at()->set_seconds(1785578100);
  cell->set_mean_luma(201.5);
  fake_.answers.grid.set_jpeg("\xff\xd8picture");
  const auto json =
      nlohmann::json::parse(Call("GET", "/api/v1/streams/demo/grid.json").body);
  EXPECT_EQ(json["cells"][0]["captured_at"], "2026-08-01T09:55:00.000Z");
  EXPECT_EQ(json["cells"][0]["mean_luma"], 201.5);
  EXPECT_FALSE(json.contains("jpeg"));
  EXPECT_TRUE(fake_.Last<v1::GetGridRequest>().cells_only());
  EXPECT_EQ(Code(Call("GET", "/api/v1/streams/demo/grid.json?x=1")), 400);
  EXPECT_EQ(Call("GET", "/api/v1/streams/demo/grid.jpg").body,
            "\xff\xd8picture");
  EXPECT_FALSE(fake_.Last<v1::GetGridRequest>().cells_only());
}

v1::Stream CountedStream(v1::StreamState state, int64_t captured) {
  v1::Stream stream;
  stream.set_state(state);
  stream.set_condition(v1::CAMERA_CONDITION_GOOD);
  stream.set_spool_bytes(100);
  stream.set_batches_pending(2);
  v1::Accounting& accounting = *stream.mutable_accounting();
  accounting.set_due(captured + 1);
  accounting.set_captured(captured);
  accounting.set_recorded(captured - 1);
  accounting.set_spooled(1);
  (*accounting.mutable_missed())["late"] = 1;
  return stream;
}

TEST_F(RoutesTest, StatsSumUpWhatAllServicesTell) {
  using v1::STREAM_STATE_RUNNING;
  fake_.answers.max_streams_page = 2;
  for (int i = 0; i < 3; ++i) {
    *fake_.answers.streams.add_streams() =
        CountedStream(STREAM_STATE_RUNNING, 10);
  }
  *fake_.answers.streams.add_streams() =
      CountedStream(v1::STREAM_STATE_STOPPED, 5);
  v1::Model* model = fake_.answers.models.add_models();
  model->set_state(v1::MODEL_STATE_READY);
  model->set_preparing(true);
  model->set_batches_ok(7);
  v1::Record* record = fake_.answers.records.add_records();
  record->set_record_id(41);
  record->mutable_captured_at()->set_seconds(1785578100);
  const auto json = nlohmann::json::parse(Call("GET", "/api/v1/stats").body);
  EXPECT_EQ(json["services"]["capture"]["ready"], true);
  EXPECT_EQ(json["streams"]["states"]["running"], 3);
  EXPECT_EQ(json["streams"]["states"]["stopped"], 1);
  EXPECT_EQ(json["streams"]["states"]["auth_failed"], 0);
  EXPECT_EQ(json["streams"]["conditions"]["good"], 3);
  EXPECT_EQ(json["streams"]["conditions"]["unspecified"], 0);
  const auto& accounting = json["streams"]["accounting"];
  EXPECT_EQ(accounting["due"], 39);
  EXPECT_EQ(accounting["captured"], 35);
  EXPECT_EQ(accounting["missed"]["late"], 4);
  EXPECT_EQ(accounting["recorded"], 31);
  EXPECT_EQ(accounting["spooled"], 4);
  EXPECT_EQ(json["streams"]["spool_bytes"], 400);
  EXPECT_EQ(json["streams"]["batches_pending"], 8);
  EXPECT_EQ(json["models"]["states"]["ready"], 1);
  EXPECT_EQ(json["models"]["states"]["failed"], 0);
  EXPECT_EQ(json["models"]["preparing"], 1);
  EXPECT_EQ(json["models"]["batches_ok"], 7);
  EXPECT_EQ(json["records"]["last_record_id"], 41);
  EXPECT_EQ(json["records"]["last_captured_at"], "2026-08-01T09:55:00.000Z");
  EXPECT_EQ(Code(Call("GET", "/api/v1/stats?x=1")), 400);
}

TEST_F(RoutesTest, StatsSayWhoDidNotAnswerAndTellTheRest) {
  BackendClients::Options options = fake_.ClientOptions();
  options.inference = "127.0.0.1:1";
  BackendClients clients(options);
  const HttpResponse response = StatsRoutes(clients)[0].handler({});
  EXPECT_EQ(Code(response), 200);
  const auto json = nlohmann::json::parse(response.body);
  EXPECT_EQ(json["models"], nullptr);
  EXPECT_EQ(json["services"]["inference"]["ready"], false);
  EXPECT_EQ(json["services"]["inference"]["reason"],
            "the inference service cannot be reached");
  EXPECT_EQ(json["services"]["capture"]["ready"], true);
  EXPECT_EQ(json["streams"]["states"]["running"], 0);
  EXPECT_EQ(json["records"]["last_record_id"], 0);
}

TEST_F(RoutesTest, StatsSayWhyAServiceIsNotReadyAndTellWhatItTold) {
  fake_.SetServing(false);
  const auto json = nlohmann::json::parse(Call("GET", "/api/v1/stats").body);
  EXPECT_EQ(json["services"]["capture"]["ready"], false);
  EXPECT_EQ(json["services"]["capture"]["reason"],
            "the capture service is not serving");
  EXPECT_EQ(json["streams"]["states"]["running"], 0);
}

TEST_F(RoutesTest, AProbeAnswersItsStepsAsOneObject) {
  v1::ProbeSourceResponse step;
  step.set_step(v1::PROBE_STEP_DNS);
  step.set_ok(true);
  step.set_elapsed_seconds(0.5);
  step.set_detail("127.0.0.1");
  step.mutable_at()->set_seconds(1785578100);
  fake_.answers.probe.push_back(step);
  const HttpResponse good =
      Call("POST", "/api/v1/probe",
           R"({"rtsp_url":"rtsp://127.0.0.1/a","user":"u","password":"p",
               "transport":"udp"})",
           kJson);
  EXPECT_EQ(Code(good), 200);
  EXPECT_EQ(good.content_type, "application/json");
  EXPECT_EQ(good.body,
            "{\"ok\":true,\"steps\":[{\"step\":\"dns\",\"ok\":true,"
            "\"elapsed_seconds\":0.5,\"detail\":\"127.0.0.1\",\"hint\":\"\","
            "\"at\":\"2026-08-01T09:55:00.000Z\"}]}\n");
  auto asked = fake_.Last<v1::ProbeSourceRequest>();
  EXPECT_EQ(asked.rtsp_url(), "rtsp://127.0.0.1/a");
  EXPECT_EQ(asked.user(), "u");
  EXPECT_EQ(asked.password(), "p");
  EXPECT_EQ(asked.transport(), v1::TRANSPORT_UDP);

  step.set_step(v1::PROBE_STEP_GOP);
  step.set_ok(false);
  step.set_hint("Look.");
  fake_.answers.probe.push_back(step);
  const HttpResponse bad = Call("POST", "/api/v1/probe",
                                "rtsp_url=rtsp%3A%2F%2F127.0.0.1%2Fb", kForm);
  // The camera failed, not the probe.
  EXPECT_EQ(Code(bad), 200);
  const auto json = nlohmann::json::parse(bad.body);
  EXPECT_EQ(json["ok"], false);
  ASSERT_EQ(json["steps"].size(), 2u);
  EXPECT_EQ(json["steps"][1]["step"], "gop");
  EXPECT_EQ(json["steps"][1]["hint"], "Look.");
  asked = fake_.Last<v1::ProbeSourceRequest>();
  EXPECT_EQ(asked.rtsp_url(), "rtsp://127.0.0.1/b");
}

TEST_F(RoutesTest, AProbeThatCannotRunIsAnError) {
  fake_.FailWith(WithRetryDelay(absl::ResourceExhaustedError("4 probes run"),
                                absl::Seconds(5)));
  const HttpResponse full =
      Call("POST", "/api/v1/probe", R"({"rtsp_url":"rtsp://h/a"})", kJson);
  EXPECT_EQ(Code(full), 429);
  EXPECT_THAT(full.headers, Contains(Pair("Retry-After", "5")));
  fake_.FailWith(absl::InvalidArgumentError("rtsp_url must not be empty"));
  EXPECT_EQ(Code(Call("POST", "/api/v1/probe", "{}", kJson)), 400);
  fake_.FailWith(absl::OkStatus());
  const size_t before = fake_.request_count();
  for (const char* body :
       {R"({"rtsp_url":5})", R"({"url":"rtsp://h/a"})", "[]", "{",
        R"({"rtsp_url":"rtsp://h/a","transport":"pigeon"})",
        R"({"rtsp_url":"rtsp://h/a","interval":3})"}) {
    EXPECT_EQ(Code(Call("POST", "/api/v1/probe", body, kJson)), 400) << body;
  }
  EXPECT_EQ(Code(Call("POST", "/api/v1/probe?rtsp_url=rtsp://h/a", "", kForm)),
            400);
  EXPECT_EQ(fake_.request_count(), before);
}

TEST_F(RoutesTest, AProbeHasADeadlineOfItsOwn) {
  BackendClients::Options options = fake_.ClientOptions();
  options.probe_timeout = absl::Milliseconds(100);
  BackendClients clients(options);
  fake_.Hang(true);
  const auto steps = clients.ProbeSource(v1::ProbeSourceRequest());
  EXPECT_TRUE(absl::IsDeadlineExceeded(steps.status()));
  EXPECT_THAT(std::string(steps.status().message()),
              HasSubstr("the capture service did not answer within 100ms"));
}

TEST_F(RoutesTest, ReadsRecordsAndTheirPictures) {
  fake_.answers.record.set_record_id(7);
  EXPECT_EQ(
      nlohmann::json::parse(Call("GET", "/api/v1/records/7").body)["record_id"],
      7);
  Call("GET", "/api/v1/records?class_name=dog&complaint_type=stray_animal");
  EXPECT_EQ(fake_.Last<v1::ListRecordsRequest>().class_name(), "dog");
  fake_.answers.image.set_jpeg("\xff\xd8picture");
  const HttpResponse picture = Call(
      "GET",
      "/api/v1/records/7/frame.jpg?boxes=true&width=640&evidence=stray_animal");
  EXPECT_EQ(picture.body, "\xff\xd8picture");
  // Another data folder has another record of that number.
  EXPECT_THAT(picture.headers,
              Contains(Pair("Cache-Control", "private, no-cache")));
  const auto asked = fake_.Last<v1::GetRecordImageRequest>();
  EXPECT_EQ(asked.record_id(), 7);
  EXPECT_TRUE(asked.boxes());
  EXPECT_EQ(asked.evidence(), "stray_animal");
  EXPECT_EQ(Code(Call("GET", "/api/v1/records/7/frame.jpg?v=session/1")), 200);
  EXPECT_EQ(Code(Call("GET", "/api/v1/records/abc")), 400);
  EXPECT_EQ(Code(Call("GET", "/api/v1/records/0")), 400);
  EXPECT_EQ(Code(Call("GET", "/api/v1/records/7/frame.jpg?width=wide")), 400);
}

TEST_F(RoutesTest, PutsAndImportsCameras) {
  EXPECT_EQ(Code(Call("PUT", "/api/v1/cameras/CAM-001",
                      R"({"latitude":26.4499,"longitude":80.3319})", kJson)),
            200);
  const auto put = fake_.Last<v1::UpsertCameraRequest>();
  EXPECT_EQ(put.camera().camera_id(), "CAM-001");
  EXPECT_EQ(put.camera().latitude(), 26.4499);
  EXPECT_EQ(Code(Call("PUT", "/api/v1/cameras/CAM-001",
                      R"({"camera_id":"CAM-002"})", kJson)),
            400);
  v1::RowError* error = fake_.answers.imported.add_errors();
  error->set_line(3);
  const HttpResponse imported =
      Call("POST", "/api/v1/cameras/import",
           "cameraID,latitude,longitude\nCAM-001,1,2\n", "text/csv");
  EXPECT_EQ(nlohmann::json::parse(imported.body)["errors"][0]["line"], 3);
  EXPECT_EQ(Code(Call("POST", "/api/v1/cameras/import", "", "text/csv")), 400);
}

TEST_F(RoutesTest, PreparingAModelAnswersAtOnceWithItsProgress) {
  fake_.answers.model.set_name("animals");
  fake_.answers.model.set_state(v1::MODEL_STATE_INSTALLING);
  const HttpResponse response = Call("POST", "/api/v1/models/animals/prepare");
  EXPECT_EQ(Code(response), 202);
  EXPECT_EQ(nlohmann::json::parse(response.body)["state"], "installing");
  fake_.answers.model.set_state(v1::MODEL_STATE_READY);
  EXPECT_EQ(Code(Call("POST", "/api/v1/models/animals/prepare")), 200);
  // It is loaded anew.
  fake_.answers.model.set_preparing(true);
  EXPECT_EQ(Code(Call("POST", "/api/v1/models/animals/prepare")), 202);
}

TEST_F(RoutesTest, DetectTakesAJpegAndNothingElse) {
  fake_.answers.detect.add_detections()->set_class_name("dog");
  const HttpResponse response =
      Call("POST", "/api/v1/detect?model=animals&min_score=0.3",
           "\xff\xd8\xff\xe0 more", "image/jpeg");
  EXPECT_EQ(nlohmann::json::parse(response.body)["detections"][0]["class_name"],
            "dog");
  EXPECT_EQ(fake_.Last<v1::DetectRequest>().min_score(), 0.3);
  EXPECT_EQ(
      Code(Call("POST", "/api/v1/detect?model=animals", "GIF89a", "image/gif")),
      400);
  EXPECT_EQ(Code(Call("POST", "/api/v1/detect", "\xff\xd8\xff", "image/jpeg")),
            400);
}

TEST_F(RoutesTest, ThePageIsServedFromTheBinary) {
  const HttpResponse page = Call("GET", "/");
  EXPECT_EQ(Code(page), 200);
  EXPECT_THAT(page.body, HasSubstr("<!doctype html>"));
  EXPECT_EQ(Call("GET", "/static/app.js").content_type,
            "text/javascript; charset=utf-8");
  EXPECT_EQ(Code(Call("GET", "/static/nothing.js")), 404);
}

// A state that the page does not ask for would hide streams.
TEST_F(RoutesTest, ThePageAsksForEveryState) {
  const HttpResponse page = Call("GET", "/static/api.js");
  const auto& states = *v1::StreamState_descriptor();
  for (int i = 1; i < states.value_count(); ++i) {
    const std::string name = absl::AsciiStrToLower(
        absl::StripPrefix(states.value(i)->name(), "STREAM_STATE_"));
    EXPECT_THAT(page.body, ContainsRegex(absl::StrCat("[\"=]", name, "[\"&]")));
  }
}

}  // namespace
}  // namespace camherd::gateway
