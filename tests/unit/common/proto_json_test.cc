// SPDX-License-Identifier: Apache-2.0
#include "services/common/proto_json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "absl/strings/str_cat.h"
#include "camherd/v1/aggregator_service.pb.h"
#include "camherd/v1/capture_service.pb.h"
#include "camherd/v1/gateway.pb.h"
#include "camherd/v1/stream.pb.h"
#include "tests/support/status_matchers.h"

namespace camherd {
namespace {

using ::camherd::testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

// As the gateway has them for a start.
const FieldRules& StartRules() {
  static const auto& rules = *new FieldRules{
      .aliases = {{"model_name", {.field = "models", .one_value = true}},
                  {"interval", {.field = "interval_seconds"}}}};
  return rules;
}

nlohmann::json Printed(const google::protobuf::Message& message,
                       bool pictures = false) {
  return nlohmann::json::parse(ProtoToJson(message, pictures));
}

absl::Status Start(absl::string_view json, v1::StartStreamRequest* out) {
  return JsonToProto(json, StartRules(), out);
}
absl::Status Start(absl::string_view json) {
  v1::StartStreamRequest ignored;
  return Start(json, &ignored);
}
auto IsBad(const std::string& part) {
  return StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(part));
}

TEST(ProtoJsonTest, PrintsZerosAndNulls) {
  const nlohmann::json json = Printed(v1::Stream());
  EXPECT_EQ(json["stream_id"], "");
  EXPECT_EQ(json["interval_seconds"], 0);
  EXPECT_EQ(json["models"], nlohmann::json::array());
  EXPECT_TRUE(json["accounting"].is_null());
  EXPECT_TRUE(json["next_retry_at"].is_null());
  EXPECT_EQ(json["desired_running"], false);
}

TEST(ProtoJsonTest, PrintsEnumsShortAndLowerCase) {
  v1::Stream stream;
  stream.set_state(v1::STREAM_STATE_AUTH_FAILED);
  stream.set_sampling_mode(v1::SAMPLING_MODE_KEYFRAME);
  EXPECT_EQ(Printed(stream)["state"], "auth_failed");
  EXPECT_EQ(Printed(stream)["sampling_mode"], "keyframe");
}

TEST(ProtoJsonTest, PrintsNumbersTimesAndMaps) {
  v1::Stream stream;
  stream.mutable_accounting()->set_due(1LL << 53);
  (*stream.mutable_accounting()->mutable_missed())["late"] = 3;
  stream.mutable_started_at()->set_seconds(1785578100);
  stream.mutable_started_at()->set_nanos(123000000);
  stream.set_interval_seconds(0.5);
  const nlohmann::json json = Printed(stream);
  EXPECT_EQ(json["accounting"]["due"], 1LL << 53);
  EXPECT_TRUE(json["accounting"]["due"].is_number_integer());
  EXPECT_EQ(json["accounting"]["missed"]["late"], 3);
  EXPECT_EQ(json["started_at"], "2026-08-01T09:55:00.123Z");
  EXPECT_EQ(json["interval_seconds"], 0.5);
}

TEST(ProtoJsonTest, PrintsAFloatAsAPersonWroteIt) {
  v1::Evidence evidence;
  evidence.set_confidence(0.89f);
  EXPECT_THAT(ProtoToJson(evidence), HasSubstr("\"confidence\":0.89}"));
}

TEST(ProtoJsonTest, PrintsAnAbsentPlaceAsNullAndZeroAsZero) {
  v1::Camera camera;
  EXPECT_TRUE(Printed(camera)["latitude"].is_null());
  camera.set_latitude(0);
  EXPECT_EQ(Printed(camera)["latitude"], 0);
}

TEST(ProtoJsonTest, LeavesPicturesOutUnlessAskedFor) {
  v1::StopStreamResponse stop;
  stop.set_grid_jpeg("\xff\xd8\xff");
  EXPECT_FALSE(Printed(stop).contains("grid_jpeg"));
  EXPECT_EQ(Printed(stop, true)["grid_jpeg"], "/9j/");
}

TEST(ProtoJsonTest, PrintsTextThatIsNoUtf8WithoutFailing) {
  EXPECT_EQ(QuoteJson("a\"b\n\xff"), "\"a\\\"b\\n\xef\xbf\xbd\"");
}

TEST(ProtoJsonTest, ReadsTheFieldsOfARequest) {
  v1::StartStreamRequest request;
  CAMHERD_ASSERT_OK(Start(R"({"rtsp_url":"rtsp://127.0.0.1/a",
      "models":["animals","people"],"interval_seconds":2,"batch_size":5,
      "sampling_mode":"exact","transport":"tcp","camera_id":null})",
                          &request));
  EXPECT_EQ(request.rtsp_url(), "rtsp://127.0.0.1/a");
  EXPECT_THAT(request.models(), ElementsAre("animals", "people"));
  EXPECT_EQ(request.interval_seconds(), 2);
  EXPECT_EQ(request.batch_size(), 5);
  EXPECT_EQ(request.sampling_mode(), v1::SAMPLING_MODE_EXACT);
}

TEST(ProtoJsonTest, ReadsModelNameAsOneNameOrAList) {
  v1::StartStreamRequest one;
  CAMHERD_ASSERT_OK(Start(R"({"model_name":"animals"})", &one));
  EXPECT_THAT(one.models(), ElementsAre("animals"));
  v1::StartStreamRequest two;
  CAMHERD_ASSERT_OK(Start(R"({"model_name":["animals","people"]})", &two));
  EXPECT_THAT(two.models(), ElementsAre("animals", "people"));
  EXPECT_THAT(Start(R"({"models":"animals"})"),
              IsBad("models must be a list, got \"animals\""));
  EXPECT_THAT(Start(R"({"model_name":5})"),
              IsBad("model_name must be a string or a list of strings, got 5"));
  EXPECT_THAT(Start(R"({"model_name":[5]})"),
              IsBad("model_name[0] must be a string, got 5"));
}

TEST(ProtoJsonTest, NamesFieldAndValueOfAWrongType) {
  EXPECT_THAT(Start(R"({"interval_seconds":"abc"})"),
              IsBad("interval_seconds must be a number, got \"abc\""));
  EXPECT_THAT(Start(R"({"interval":true})"),
              IsBad("interval must be a number, got true"));
  EXPECT_THAT(Start(R"({"camera_id":17})"),
              IsBad("camera_id must be a string, got 17"));
  EXPECT_THAT(Start(R"({"batch_size":2.5})"),
              IsBad("batch_size must be an integer, got 2.5"));
  EXPECT_THAT(Start(R"({"batch_size":99999999999})"),
              IsBad("batch_size must be an integer of at most 31 bits"));
  EXPECT_THAT(
      Start(R"({"sampling_mode":"fast"})"),
      IsBad("sampling_mode must be one of [auto, keyframe, exact, full], got "
            "\"fast\""));
  EXPECT_THAT(Start(R"({"camera_id":["a"]})"),
              IsBad("camera_id must be a string, got a list"));
}

TEST(ProtoJsonTest, RefusesUnknownFieldsByName) {
  EXPECT_THAT(Start(R"({"rtps_url":"x"})"),
              IsBad("unknown field \"rtps_url\"; known: rtsp_url, "));
}

TEST(ProtoJsonTest, RefusesOneFieldUnderTwoNamesOrTwice) {
  EXPECT_THAT(Start(R"({"interval":1,"interval_seconds":2})"),
              IsBad("give interval or interval_seconds, not both"));
  EXPECT_THAT(Start(R"({"camera_id":"a","camera_id":"b"})"),
              IsBad("the field \"camera_id\" is given twice"));
}

TEST(ProtoJsonTest, RefusesWhatIsNoFiniteNumber) {
  EXPECT_THAT(Start(R"({"interval":NaN})"),
              IsBad("interval must be a finite number, got NaN"));
  EXPECT_THAT(Start(R"({"interval":-Infinity})"),
              IsBad("interval must be a finite number, got -Infinity"));
  EXPECT_THAT(Start(R"({"model_name":["animals",NaN]})"),
              IsBad("model_name[1] must be a finite number, got NaN"));
  EXPECT_THAT(Start("NaN"), IsBad("not valid JSON"));
  EXPECT_THAT(Start("{NaN"), IsBad("not valid JSON"));
  EXPECT_THAT(Start(R"({"interval":1,NaN)"), IsBad("not valid JSON"));
}

TEST(ProtoJsonTest, NamesFieldAndValueOfANumberOutOfRange) {
  EXPECT_THAT(Start(R"({"interval":1e999})"),
              IsBad("interval must be a finite number, got 1e999"));
  EXPECT_THAT(Start(R"({"camera_id":"a", "batch_size": -1e999 })"),
              IsBad("batch_size must be a finite number, got -1e999"));
  v1::Camera camera;
  EXPECT_THAT(
      JsonToProto(R"({"name":"a","zones":[{},{"name":"z","area":{"points":[
                        {"x":0,"y":1},{"x":1e400}]}}]})",
                  {}, &camera),
      IsBad("zones[1].area.points[1].x must be a finite number, got 1e400"));
  EXPECT_THAT(JsonToProto(R"({"class_thresholds":{"dog":0.5,"cow":1e400}})", {},
                          &camera),
              IsBad("class_thresholds.cow must be a finite number, got 1e400"));
  const absl::Status shortened =
      Start(absl::StrCat(R"({"interval":)", std::string(500, '1'), "}"));
  EXPECT_THAT(shortened, IsBad(absl::StrCat("interval must be a finite "
                                            "number, got ",
                                            std::string(80, '1'), "...")));
  EXPECT_LT(shortened.message().size(), 150u);
  EXPECT_THAT(Start("1e999"), IsBad("the body must be a JSON object"));

  v1::StartStreamRequest request;
  EXPECT_THAT(FieldsToProto({{"interval", "1e999"}}, StartRules(), &request),
              IsBad("interval must be a finite number, got \"1e999\""));
  EXPECT_THAT(FieldsToProto({{"batch_size", "99999999999999999999"}},
                            StartRules(), &request),
              IsBad("batch_size must be an integer, got "
                    "\"99999999999999999999\""));
}

TEST(ProtoJsonTest, RefusesWhatIsNoJsonWithoutQuotingIt) {
  const absl::Status status =
      Start(R"({"rtsp_url":"rtsp://u:s3cret@127.0.0.1/a)");
  EXPECT_THAT(status, IsBad("not valid JSON"));
  EXPECT_THAT(std::string(status.message()), Not(HasSubstr("s3cret")));
  EXPECT_THAT(Start("hello"), IsBad("not valid JSON"));
  EXPECT_THAT(Start("[1]"), IsBad("must be a JSON object, got array"));
  EXPECT_THAT(Start("{\"camera_id\":\"\xff\"}"), IsBad("not valid JSON"));
  EXPECT_THAT(Start(R"({"camera_id":"a"} x)"), IsBad("not valid JSON"));
}

TEST(ProtoJsonTest, RefusesTextThatIsNoUnicode) {
  // Halves of a pair, the wrong way round, and one beside a letter.
  for (const char* text :
       {R"(\ud800)", R"(\udc00)", R"(\udc00\ud800)", R"(\ud83dx)",
        "\xed\xa0\x80", "\xc0\xaf", "\xf4\x90\x80\x80"}) {
    EXPECT_THAT(Start(absl::StrCat("{\"user\":\"", text, "\"}")),
                IsBad("not valid JSON"))
        << text;
    EXPECT_THAT(Start(absl::StrCat("{\"", text, "\":1}")),
                IsBad("not valid JSON"))
        << text;
  }
  EXPECT_THAT(Start(R"({"user":"\ud83d\ude00"})"), ::camherd::testing::IsOk());
}

TEST(ProtoJsonTest, RefusesAKeyThatIsGivenTwiceAtAnyDepth) {
  v1::Camera camera;
  EXPECT_THAT(
      JsonToProto(R"({"zones":[{"name":"a","area":{"points":[{"x":0.1,"x":1}]}
                      }]})",
                  {}, &camera),
      IsBad("the field \"x\" is given twice"));
  EXPECT_THAT(
      JsonToProto(R"({"class_thresholds":{"dog":0.1,"dog":0.2}})", {}, &camera),
      IsBad("the field \"dog\" is given twice"));
}

TEST(ProtoJsonTest, RefusesDeepNestingBeforeParsingIt) {
  EXPECT_THAT(Start(std::string(1'000'000, '[')), IsBad("deeper than 64"));
  std::string braces;
  for (int i = 0; i < 65; ++i) braces += "{\"a\":";
  EXPECT_THAT(Start(braces), IsBad("deeper than 64"));
  EXPECT_THAT(
      Start(absl::StrCat("{\"camera_id\":\"", std::string(100, '['), "\"}")),
      ::camherd::testing::IsOk());
}

TEST(ProtoJsonTest, NeverPrintsAValueThatMayBeSecret) {
  for (const char* json :
       {R"({"password":12345})", R"({"rtsp_url":["rtsp://u:12345@h/a"]})",
        R"({"user":12345})"}) {
    const absl::Status status = Start(json);
    EXPECT_FALSE(status.ok());
    EXPECT_THAT(std::string(status.message()), Not(HasSubstr("12345")));
  }
  v1::LoginRequest login;
  EXPECT_THAT(JsonToProto(R"({"token":12345})", {}, &login),
              IsBad("token must be a string, got another type"));
  for (const char* json :
       {R"({"interval":"rtsp://u:12345@127.0.0.1/a"})",
        R"({"password":["12345",NaN]})", R"({"password":12345e999})",
        R"({"password":{"a":[12345e999]}})",
        R"({"rtsp_url":["rtsp://u:12345@127.0.0.1/a",1e999]})",
        R"({"rtsp://u:12345@127.0.0.1/a":1e999})"}) {
    const absl::Status status = Start(json);
    EXPECT_FALSE(status.ok());
    EXPECT_THAT(std::string(status.message()), Not(HasSubstr("12345")));
  }
}

TEST(ProtoJsonTest, ReadsNestedMessagesAndNamesThePath) {
  v1::Camera camera;
  CAMHERD_ASSERT_OK(JsonToProto(
      R"({"camera_id":"a","latitude":1.5,
          "zones":[{"name":"z","area":{"points":[{"x":0,"y":1}]}}],
          "class_thresholds":{"dog":0.5}})",
      {}, &camera));
  EXPECT_EQ(camera.zones(0).area().points(0).y(), 1);
  EXPECT_EQ(camera.class_thresholds().at("dog"), 0.5);
  EXPECT_THAT(
      JsonToProto(R"({"zones":[{"area":{"points":[{"x":"left"}]}}]})", {},
                  &camera),
      IsBad("zones[0].area.points[0].x must be a number, got \"left\""));
}

TEST(ProtoJsonTest, AModelListIsAListInJson) {
  v1::UpdateStreamRequest update;
  CAMHERD_ASSERT_OK(JsonToProto(R"({"models":["people"]})", {}, &update));
  EXPECT_THAT(update.models().names(), ElementsAre("people"));
  v1::UpdateStreamRequest none;
  CAMHERD_ASSERT_OK(JsonToProto(R"({"models":[]})", {}, &none));
  EXPECT_TRUE(none.has_models());
}

TEST(ProtoJsonTest, ReadsFormFieldsStrictly) {
  v1::StartStreamRequest request;
  CAMHERD_ASSERT_OK(FieldsToProto({{"rtsp_url", "rtsp://127.0.0.1/a"},
                                   {"interval", "1.5"},
                                   {"model_name", "animals,people"}},
                                  StartRules(), &request));
  EXPECT_EQ(request.interval_seconds(), 1.5);
  EXPECT_THAT(request.models(), ElementsAre("animals", "people"));
  for (const char* value : {"abc", "", "nan", "inf", "0x10", "1 ", "1,5"}) {
    EXPECT_THAT(
        FieldsToProto({{"interval", value}}, StartRules(), &request),
        IsBad(absl::StrCat("interval must be a number, got \"", value, "\"")));
  }
  EXPECT_THAT(FieldsToProto({{"colour", "red"}}, StartRules(), &request),
              IsBad("unknown field \"colour\""));
}

TEST(ProtoJsonTest, RefusesAnEmptyItemOfAListInAForm) {
  v1::StartStreamRequest request;
  for (const char* value : {"", ",", "animals,", ",animals", "animals,,dogs"}) {
    EXPECT_THAT(
        FieldsToProto({{"model_name", value}}, StartRules(), &request),
        IsBad("model_name must match [A-Za-z0-9][A-Za-z0-9._-]{0,63}, got "
              "\"\""))
        << value;
  }
  EXPECT_THAT(FieldsToProto({{"models", ""}}, StartRules(), &request),
              IsBad("models must match"));
  v1::ListStreamsRequest list;
  EXPECT_THAT(FieldsToProto({{"states", "running,"}}, {}, &list),
              IsBad("states must be one of [starting, "));
}

TEST(ProtoJsonTest, AFieldWithoutANameIsUnknown) {
  v1::StartStreamRequest request;
  EXPECT_THAT(FieldsToProto({{"", "x"}}, StartRules(), &request),
              IsBad("unknown field \"\""));
  EXPECT_THAT(FieldsToProto({{"", "x"}}, {.ignored = "v"}, &request),
              IsBad("unknown field \"\""));
  EXPECT_THAT(FieldsToProto({{"v", "x"}}, {.ignored = "v"}, &request),
              ::camherd::testing::IsOk());
}

TEST(ProtoJsonTest, ANullIsAFieldLeftOut) {
  v1::StartStreamRequest request;
  std::set<std::string> given;
  CAMHERD_ASSERT_OK(
      JsonToProto(R"({"interval":null,"interval_seconds":2,"models":null})",
                  StartRules(), &request, &given));
  EXPECT_EQ(request.interval_seconds(), 2);
  EXPECT_THAT(given, ElementsAre("interval_seconds"));
  EXPECT_THAT(Start(R"({"colour":null})"), IsBad("unknown field \"colour\""));
}

TEST(ProtoJsonTest, SaysWhichFieldsWereGivenByTheirOwnNames) {
  v1::StartStreamRequest request;
  std::set<std::string> given;
  CAMHERD_ASSERT_OK(
      JsonToProto(R"({"model_name":[]})", StartRules(), &request, &given));
  EXPECT_THAT(given, ElementsAre("models"));
  given.clear();
  CAMHERD_ASSERT_OK(
      FieldsToProto({{"rtsp_url", ""}}, StartRules(), &request, &given));
  EXPECT_THAT(given, ElementsAre("rtsp_url"));
}

TEST(ProtoJsonTest, ReadsTimesOfAQuery) {
  v1::ListRecordsRequest list;
  CAMHERD_ASSERT_OK(
      FieldsToProto({{"since", "2026-08-01T10:15:00Z"}}, {}, &list));
  EXPECT_EQ(list.since().seconds(), 1785579300);
  EXPECT_THAT(FieldsToProto({{"since", "yesterday"}}, {}, &list),
              IsBad("since must be an RFC 3339 time"));
}

TEST(ProtoJsonTest, PrintsWhatItReads) {
  v1::Camera camera;
  const std::string json =
      R"({"camera_id":"a","name":"Gate \u00e4","latitude":-1.25,"longitude":2})";
  CAMHERD_ASSERT_OK(JsonToProto(json, {}, &camera));
  v1::Camera again;
  CAMHERD_ASSERT_OK(JsonToProto(ProtoToJson(camera), {}, &again));
  EXPECT_EQ(again.SerializeAsString(), camera.SerializeAsString());
}

}  // namespace
}  // namespace camherd
