// SPDX-License-Identifier: Apache-2.0
#include "gateway/openapi_routes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <prometheus/registry.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "gateway/authenticator.h"
#include "gateway/camera_routes.h"
#include "gateway/document_routes.h"
#include "gateway/event_hub.h"
#include "gateway/event_routes.h"
#include "gateway/gateway_metrics.h"
#include "gateway/health_routes.h"
#include "gateway/live_count.h"
#include "gateway/live_pictures.h"
#include "gateway/live_routes.h"
#include "gateway/login_routes.h"
#include "gateway/model_routes.h"
#include "gateway/probe_routes.h"
#include "gateway/record_routes.h"
#include "gateway/stats_routes.h"
#include "gateway/stream_routes.h"
#include "services/common/clock.h"
#include "services/common/file.h"
#include "tests/unit/gateway/fake_backends.h"

namespace camherd::gateway {
namespace {

using nlohmann::json;

// What is wrong with `value` by a schema of the document, as JSON Schema
// 2020-12 has it, of which the document uses no more than this; "" if nothing.
std::string Wrong(const json& document, const json& schema, const json& value) {
  if (schema.contains("$ref")) {
    const std::string reference = schema["$ref"];
    return Wrong(document, document.at(json::json_pointer(reference.substr(1))),
                 value);
  }
  if (schema.contains("anyOf")) {
    std::string all;
    for (const json& one : schema["anyOf"]) {
      const std::string wrong = Wrong(document, one, value);
      if (wrong.empty()) return "";
      absl::StrAppend(&all, wrong, "; ");
    }
    return all;
  }
  if (schema.contains("type")) {
    std::set<std::string> types;
    if (schema["type"].is_array()) {
      types = schema["type"].get<std::set<std::string>>();
    } else {
      types = {schema["type"].get<std::string>()};
    }
    std::string type = value.type_name();
    if (value.is_number()) {
      type = value.is_number_integer() && types.count("integer") > 0 ? "integer"
                                                                     : "number";
    }
    if (types.count(type) == 0) {
      return absl::StrCat(value.dump(), " is no ", schema["type"].dump());
    }
  }
  if (schema.contains("enum") &&
      std::count(schema["enum"].begin(), schema["enum"].end(), value) == 0) {
    return absl::StrCat(value.dump(), " is none of ", schema["enum"].dump());
  }
  if (value.is_number() &&
      ((schema.contains("minimum") && value < schema["minimum"]) ||
       (schema.contains("maximum") && value > schema["maximum"]))) {
    return absl::StrCat(value.dump(), " is out of range");
  }
  if (value.is_array() && schema.contains("items")) {
    for (const json& item : value) {
      const std::string wrong = Wrong(document, schema["items"], item);
      if (!wrong.empty()) return wrong;
    }
  }
  if (!value.is_object()) return "";
  const json properties = schema.value("properties", json::object());
  for (const json& name : schema.value("required", json::array())) {
    if (!value.contains(name)) return absl::StrCat("no ", name.dump());
  }
  for (const auto& [name, item] : value.items()) {
    json of_item = schema.value("additionalProperties", json(true));
    if (properties.contains(name)) of_item = properties[name];
    if (of_item == true) continue;
    if (of_item == false) return absl::StrCat("unknown ", name);
    const std::string wrong = Wrong(document, of_item, item);
    if (!wrong.empty()) return absl::StrCat(name, ": ", wrong);
  }
  return "";
}

class OpenApiRoutesTest : public ::testing::Test {
 protected:
  OpenApiRoutesTest()
      : clients_(fake_.ClientOptions()),
        metrics_(registry_),
        hub_({}, clients_),
        listeners_(8, "listen to events", [](size_t) {}),
        pictures_({}, clients_),
        viewers_(8, "watch", [](size_t) {}),
        document_(json::parse(OpenApiDocument())) {
    for (Routes part :
         {LoginRoutes(*authenticator_), DocumentRoutes(clients_),
          StreamRoutes(clients_), ProbeRoutes(clients_), RecordRoutes(clients_),
          CameraRoutes(clients_), ModelRoutes(clients_), StatsRoutes(clients_),
          EventRoutes(hub_, listeners_),
          LiveRoutes(clients_, pictures_, viewers_),
          HealthRoutes(
              clients_, [this] { return metrics_.Exposition(); }, stopping_),
          OpenApiRoutes()}) {
      for (Route& route : part) routes_.push_back(std::move(route));
    }
  }

  static HttpRequest RequestOf(const Route& route) {
    HttpRequest request;
    request.method = route.method;
    request.path = absl::StrReplaceAll(route.path, {{"{stream}", "demo"},
                                                    {"{record_id}", "7"},
                                                    {"{camera_id}", "CAM-001"},
                                                    {"{name}", "animals"}});
    MatchesTemplate(request.path, route.path, &request.path_values);
    return request;
  }

  const json& Operation(const Route& route) const {
    return document_["paths"][route.path][absl::AsciiStrToLower(route.method)];
  }

  // A request that has all it needs.
  HttpRequest GoodRequest(const Route& route) const {
    HttpRequest request = RequestOf(route);
    const json& operation = Operation(route);
    for (const json& parameter : operation.value("parameters", json::array())) {
      if (parameter["in"] == "query" && parameter.value("required", false)) {
        request.query =
            absl::StrCat(parameter["name"].get<std::string>(), "=animals");
      }
    }
    if (!operation.contains("requestBody")) return request;
    const auto content = operation["requestBody"]["content"].items().begin();
    request.headers = {{"content-type", content.key()}};
    const json example = content.value().value("example", json());
    request.body = example.is_string() ? example.get<std::string>()
                   : example.is_null() ? "\xff\xd8\xff"
                                       : example.dump();
    return request;
  }

  // The names in "unknown field ...; known: a, b".
  static std::set<std::string> Known(const HttpResponse& response) {
    const std::vector<std::string> parts =
        absl::StrSplit(response.body, "; known: ");
    if (parts.size() != 2) return {response.body};
    const std::string names = parts[1].substr(0, parts[1].find_first_of("\"<"));
    return absl::StrSplit(names, ", ", absl::SkipEmpty());
  }

  FakeBackends fake_;
  BackendClients clients_;
  prometheus::Registry registry_;
  GatewayMetrics metrics_;
  const std::unique_ptr<Authenticator> authenticator_ =
      Authenticator::Create(
          {.required = true,
           // The token of the example.
           .tokens = {absl::StrCat(Sha256Hex("3f0c..."), " viewer alice")}},
          Clock::Real())
          .value();
  EventHub hub_;
  LiveCount listeners_;
  LivePictures pictures_;
  LiveCount viewers_;
  std::atomic<bool> stopping_ = false;
  Routes routes_;
  const json document_;
};

TEST_F(OpenApiRoutesTest, DescribesEveryRouteAndNothingElse) {
  std::set<std::string> described;
  std::set<std::string> ids;
  for (const auto& [path, operations] : document_["paths"].items()) {
    for (const auto& [method, operation] : operations.items()) {
      described.insert(absl::StrCat(absl::AsciiStrToUpper(method), " ", path));
      EXPECT_TRUE(ids.insert(operation["operationId"]).second) << path;
      EXPECT_FALSE(operation["summary"].empty()) << path;
    }
  }
  std::set<std::string> routes;
  for (const Route& route : routes_) {
    routes.insert(absl::StrCat(route.method, " ", route.path));
  }
  EXPECT_EQ(described, routes);
  EXPECT_EQ(document_["openapi"], "3.1.0");
}

TEST_F(OpenApiRoutesTest, DescribesTheFieldsThatHandlersTake) {
  for (const Route& route : routes_) {
    const json& operation = Operation(route);
    std::set<std::string> query;
    for (const json& parameter : operation.value("parameters", json::array())) {
      // `v` and `grid_jpeg` are no fields.
      if (parameter["in"] == "query" && parameter["name"] != "v" &&
          parameter["name"] != "grid_jpeg") {
        query.insert(parameter["name"]);
      }
    }
    if (!query.empty()) {
      HttpRequest request = RequestOf(route);
      request.query = "zzz=1";
      EXPECT_EQ(Known(route.handler(request)), query) << route.path;
    }
    const json content =
        operation.value("requestBody", json::object()).value("content", json());
    for (const char* type :
         {"application/json", "application/x-www-form-urlencoded"}) {
      if (!content.contains(type)) continue;
      std::set<std::string> fields;
      for (const auto& [name, schema] :
           content[type]["schema"]["properties"].items()) {
        fields.insert(name);
      }
      HttpRequest request = RequestOf(route);
      request.headers = {{"content-type", type}};
      request.body = absl::StrContains(type, "json") ? R"({"zzz":1})" : "zzz=1";
      std::set<std::string> known = Known(route.handler(request));
      // A form cannot give what is no text.
      if (!absl::StrContains(type, "json")) {
        for (const char* field :
             {"privacy_masks", "zones", "class_thresholds"}) {
          known.erase(field);
        }
      }
      EXPECT_EQ(known, fields) << route.path << " " << type;
    }
  }
  EXPECT_EQ(fake_.request_count(), 0u);
}

TEST_F(OpenApiRoutesTest, ItsExamplesAreRight) {
  int examples = 0;
  for (const Route& route : routes_) {
    const json& operation = Operation(route);
    std::vector<json> contents;
    if (operation.contains("requestBody")) {
      contents.push_back(operation["requestBody"]["content"]);
    }
    for (const json& answer : operation["responses"]) {
      const json& resolved =
          answer.contains("$ref")
              ? document_.at(json::json_pointer(
                    answer["$ref"].get<std::string>().substr(1)))
              : answer;
      contents.push_back(resolved.value("content", json::object()));
    }
    for (const json& content : contents) {
      for (const auto& [type, body] : content.items()) {
        if (!body.contains("example")) {
          EXPECT_FALSE(absl::StrContains(body["schema"].dump(), "$ref"))
              << route.path << " has no example of " << type;
          continue;
        }
        ++examples;
        EXPECT_EQ(Wrong(document_, body["schema"], body["example"]), "")
            << route.path << " " << type;
      }
    }
  }
  EXPECT_GT(examples, 50);
}

TEST_F(OpenApiRoutesTest, HandlersTakeItsExamplesAndAnswerAsItSays) {
  fake_.answers.export_pieces = {"[]"};
  fake_.answers.start.mutable_stream()->set_stream_id("stream-1");
  fake_.answers.streams.add_streams()->set_state(v1::STREAM_STATE_RUNNING);
  fake_.answers.stream.set_desired_running(true);
  fake_.answers.records.add_records()->add_sections()->add_detections();
  fake_.answers.cameras.add_cameras()->add_zones();
  fake_.answers.models.add_models()->add_log_tail("line");
  fake_.answers.grid.mutable_grid()->add_cells();
  fake_.answers.stop.set_grid_jpeg("\xff\xd8\xff");
  fake_.answers.probe.emplace_back();
  for (const Route& route : routes_) {
    const HttpResponse response = route.handler(GoodRequest(route));
    EXPECT_LT(static_cast<int>(response.code), 400)
        << route.method << " " << route.path << " " << response.body;
    const json answers = Operation(route)["responses"];
    const std::string code = absl::StrCat(static_cast<int>(response.code));
    ASSERT_TRUE(answers.contains(code)) << route.path << " " << code;
    if (response.content_type.empty()) {
      EXPECT_FALSE(answers[code].contains("content")) << route.path;
      continue;
    }
    const std::vector<std::string> type =
        absl::StrSplit(response.content_type, ';');
    ASSERT_TRUE(answers[code]["content"].contains(type[0])) << route.path;
    if (type[0] != "application/json") continue;
    EXPECT_EQ(Wrong(document_, answers[code]["content"][type[0]]["schema"],
                    json::parse(response.body)),
              "")
        << route.path;
  }
}

TEST_F(OpenApiRoutesTest, HandlersErrorsAreThoseItNames) {
  using absl::StatusCode;
  for (const StatusCode failure :
       {StatusCode::kInvalidArgument, StatusCode::kUnavailable,
        StatusCode::kDeadlineExceeded, StatusCode::kInternal}) {
    fake_.FailWith(absl::Status(failure, "no"));
    for (const Route& route : routes_) {
      const HttpResponse response = route.handler(GoodRequest(route));
      const json answers = Operation(route)["responses"];
      const std::string code = absl::StrCat(static_cast<int>(response.code));
      EXPECT_TRUE(answers.contains(code)) << route.path << " " << code;
    }
  }
}

TEST_F(OpenApiRoutesTest, ItsWordsAreTheCommentsOfTheMessages) {
  const json& stream = document_["components"]["schemas"]["Stream"];
  EXPECT_EQ(stream["properties"]["interval_seconds"]["description"],
            "Seconds between samples, [0.1, 86400].");
}

TEST_F(OpenApiRoutesTest, ACredentialIsWriteOnlyAndInNoExample) {
  const json& start =
      document_["paths"]["/api/v1/streams"]["post"]["requestBody"]["content"]
               ["application/json"]["schema"]["properties"];
  for (const char* name : {"rtsp_url", "user", "password", "detect_url"}) {
    EXPECT_EQ(start[name]["writeOnly"], true) << name;
  }
}

}  // namespace
}  // namespace camherd::gateway
