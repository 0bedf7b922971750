// SPDX-License-Identifier: Apache-2.0
#include "gateway/access.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "services/common/file.h"
#include "tests/integration/gateway/running_gateway.h"

// Who may do what: every route, for every role and none, for one's own camera,
// another's, and one that there is not.
namespace camherd::gateway {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kJson[] = "Content-Type: application/json";
constexpr char kRunning[] =
    "stream \"x\" is not known; running: [gate-of-another]";

// What a token that is limited to certain cameras gets of a route.
enum class Limited {
  // The same as the others: it is about no camera.
  kSame,
  // Nothing: it is about all of them.
  kRefused,
  // Only what is its own.
  kFiltered,
  // Of another's camera, and of one that there is not, the same 404 ...
  kNotFound,
  // ... or the same 403.
  kForbidden,
};

struct Row {
  const char* method;
  // A template of the table; `target` and `body` are what is asked for it,
  // where CAMERA stands for the camera.
  const char* path;
  Role role;
  Limited limited;
  const char* target = nullptr;
  const char* body = "";
  const char* header = kJson;
};

constexpr char kStart[] =
    R"({"rtsp_url":"rtsp://127.0.0.1/a","camera_id":"CAMERA"})";

const std::vector<Row>& Table() {
  using enum Role;
  using enum Limited;
  static const auto& table = *new std::vector<Row>{
      {"GET", "/", kNone, kSame},
      {"GET", "/static/{file}", kNone, kSame, "/static/style.css"},
      {"GET", "/favicon.ico", kNone, kSame},
      {"GET", "/livez", kNone, kSame},
      {"GET", "/readyz", kNone, kSame},
      {"GET", "/metrics", kViewer, kRefused},
      {"POST", "/api/v1/login", kNone, kSame, nullptr, R"({"token":"viewer"})"},
      {"POST", "/api/v1/logout", kNone, kSame},
      {"GET", "/api/v1/session", kNone, kSame},
      {"POST", "/start_stream", kOperator, kForbidden, nullptr, kStart},
      {"POST", "/start", kOperator, kForbidden, nullptr, kStart},
      {"POST", "/stop", kOperator, kNotFound, nullptr,
       R"({"process_name":"CAMERA"})"},
      {"GET", "/api/v1/streams", kViewer, kFiltered},
      {"POST", "/api/v1/streams", kOperator, kForbidden, nullptr, kStart},
      {"GET", "/api/v1/streams/{stream}", kViewer, kNotFound,
       "/api/v1/streams/CAMERA"},
      {"PATCH", "/api/v1/streams/{stream}", kOperator, kNotFound,
       "/api/v1/streams/CAMERA", R"({"interval_seconds":5})"},
      {"DELETE", "/api/v1/streams/{stream}", kOperator, kNotFound,
       "/api/v1/streams/CAMERA"},
      {"POST", "/api/v1/streams/{stream}/stop", kOperator, kNotFound,
       "/api/v1/streams/CAMERA/stop"},
      {"GET", "/api/v1/streams/{stream}/latest.jpg", kViewer, kNotFound,
       "/api/v1/streams/CAMERA/latest.jpg"},
      {"GET", "/api/v1/streams/{stream}/live.mjpeg", kViewer, kNotFound,
       "/api/v1/streams/CAMERA/live.mjpeg"},
      {"GET", "/api/v1/streams/{stream}/grid.jpg", kViewer, kNotFound,
       "/api/v1/streams/CAMERA/grid.jpg"},
      {"GET", "/api/v1/streams/{stream}/grid.json", kViewer, kNotFound,
       "/api/v1/streams/CAMERA/grid.json"},
      {"GET", "/api/v1/events", kViewer, kSame},
      {"GET", "/api/v1/stats", kViewer, kSame},
      {"GET", "/openapi.json", kNone, kSame},
      {"POST", "/api/v1/probe", kOperator, kSame, nullptr,
       R"({"rtsp_url":"rtsp://127.0.0.1/a"})"},
      {"GET", "/api/v1/records", kViewer, kFiltered},
      {"GET", "/api/v1/records/export", kViewer, kSame},
      {"GET", "/api/v1/records/{record_id}", kViewer, kNotFound,
       "/api/v1/records/7"},
      {"GET", "/api/v1/records/{record_id}/frame.jpg", kViewer, kNotFound,
       "/api/v1/records/7/frame.jpg"},
      {"GET", "/api/v1/grids", kViewer, kFiltered},
      {"GET", "/api/v1/cameras", kViewer, kFiltered},
      {"GET", "/api/v1/cameras/{camera_id}", kViewer, kNotFound,
       "/api/v1/cameras/CAMERA"},
      {"PUT", "/api/v1/cameras/{camera_id}", kOperator, kForbidden,
       "/api/v1/cameras/CAMERA", R"({"name":"gate"})"},
      {"POST", "/api/v1/cameras/import", kAdmin, kRefused, nullptr,
       "cameraID,latitude,longitude\n", "Content-Type: text/csv"},
      {"GET", "/api/v1/models", kViewer, kSame},
      {"GET", "/api/v1/models/{name}", kViewer, kSame,
       "/api/v1/models/animals"},
      {"POST", "/api/v1/models/{name}/prepare", kOperator, kRefused,
       "/api/v1/models/animals/prepare", "{}"},
      {"POST", "/api/v1/models/{name}/unload", kAdmin, kRefused,
       "/api/v1/models/animals/unload", "{}"},
      {"POST", "/api/v1/detect", kOperator, kSame,
       "/api/v1/detect?model=animals", "\xff\xd8\xff",
       "Content-Type: image/jpeg"},
  };
  return table;
}

enum class Which { kOwn, kOther, kUnknown };

class AccessTest : public ::testing::Test {
 protected:
  AccessTest()
      : gateway_(RunningGateway::DefaultOptions(), {}, 256, Tokens()) {}

  static Authenticator::Options Tokens() {
    Authenticator::Options options{.required = true};
    for (const Role role : {Role::kViewer, Role::kOperator, Role::kAdmin}) {
      const char* name = RoleName(role);
      options.tokens.push_back(
          absl::StrCat(Sha256Hex(name), " ", name, " ", name));
      options.tokens.push_back(
          absl::StrCat(Sha256Hex(absl::StrCat(name, "-of-two")), " ", name, " ",
                       name, "-of-two camera=CAM-OWN camera=CAM-SECOND"));
    }
    options.tokens.push_back(absl::StrCat(Sha256Hex("old"),
                                          " admin old "
                                          "expires=2020-01-01T00:00:00Z"));
    return options;
  }

  FakeBackends& fake() { return gateway_.fake(); }

  // Makes the services answer with things of that camera, or of two.
  void Answer(Which which) {
    fake().FailWith(which == Which::kUnknown ? absl::NotFoundError(kRunning)
                                             : absl::OkStatus());
    FakeBackends::Answers& answers = fake().answers;
    const char* camera = which == Which::kOwn ? "CAM-OWN" : "CAM-OTHER";
    answers.stream.set_camera_id(camera);
    answers.stream.set_stream_id("stream-1");
    answers.stream.set_desired_running(true);
    answers.record.set_camera_id(camera);
    answers.camera.set_camera_id(camera);
    answers.export_pieces = {"{}\n"};
    answers.stop.set_grid_jpeg("\xff\xd8\xff");
    answers.streams.clear_streams();
    answers.records.clear_records();
    answers.grids.clear_grids();
    answers.cameras.clear_cameras();
    for (const char* name : {"CAM-OWN", "CAM-OTHER"}) {
      v1::Stream* stream = answers.streams.add_streams();
      stream->set_camera_id(name);
      stream->set_session_id(absl::StrCat("session-of-", name));
      stream->set_state(v1::STREAM_STATE_RUNNING);
      answers.grids.add_grids()->set_session_id(stream->session_id());
      answers.cameras.add_cameras()->set_camera_id(name);
    }
  }

  RawAnswer Ask(const Row& row, const std::string& token, Which which) {
    return Ask(row, token, which, gateway_.address());
  }
  static RawAnswer Ask(const Row& row, const std::string& token, Which which,
                       const std::string& address) {
    const char* camera = which == Which::kOwn     ? "CAM-OWN"
                         : which == Which::kOther ? "CAM-OTHER"
                                                  : "CAM-NONE";
    const auto with = [camera](const char* text) {
      return absl::StrReplaceAll(text, {{"CAMERA", camera}});
    };
    std::vector<std::string> headers = {row.header};
    if (!token.empty()) {
      headers.push_back(absl::StrCat("Authorization: Bearer ", token));
    }
    // Of an answer without an end only the head.
    const bool endless = absl::EndsWith(row.path, "/events") ||
                         absl::EndsWith(row.path, "/live.mjpeg");
    return gateway::Ask(address, endless ? "HEAD" : row.method,
                        with(row.target == nullptr ? row.path : row.target),
                        with(row.body), headers);
  }

  RunningGateway gateway_;
};

TEST_F(AccessTest, TheTableHereHoldsTheRoutesAndNoOthers) {
  std::set<std::string> routes;
  for (const Route& route : gateway_.routes()) {
    routes.insert(absl::StrCat(route.method, " ", route.path));
  }
  std::set<std::string> here;
  for (const Row& row : Table()) {
    here.insert(absl::StrCat(row.method, " ", row.path));
  }
  EXPECT_EQ(routes, here);
}

TEST_F(AccessTest, EachRoleMayDoWhatItsRoutesSayAndNothingElse) {
  Answer(Which::kOwn);
  for (const Row& row : Table()) {
    SCOPED_TRACE(absl::StrCat(row.method, " ", row.path));
    for (const Role role :
         {Role::kNone, Role::kViewer, Role::kOperator, Role::kAdmin}) {
      const std::string token = role == Role::kNone ? "" : RoleName(role);
      const RawAnswer answer = Ask(row, token, Which::kOwn);
      if (role >= row.role) {
        EXPECT_LT(answer.code, 300) << token << ": " << answer.body;
      } else if (role == Role::kNone) {
        EXPECT_EQ(answer.code, 401);
        EXPECT_EQ(answer.Header("WWW-Authenticate"),
                  "Bearer realm=\"camherd\"");
      } else {
        EXPECT_EQ(answer.code, 403) << token;
      }
    }
  }
}

TEST_F(AccessTest, AWrongOrExpiredTokenGetsNoFurtherThanNone) {
  for (const Row& row : Table()) {
    SCOPED_TRACE(absl::StrCat(row.method, " ", row.path));
    // Each its own: wrong tokens are counted.
    RunningGateway gateway(RunningGateway::DefaultOptions(), {}, 256, Tokens());
    for (const char* token : {"wrong", "old"}) {
      const RawAnswer answer = Ask(row, token, Which::kOwn, gateway.address());
      if (row.role == Role::kNone) {
        EXPECT_LT(answer.code, 300) << token;
      } else {
        EXPECT_EQ(answer.code, 401) << token;
        EXPECT_THAT(answer.body, Not(HasSubstr(token)));
      }
    }
    if (row.role == Role::kNone) continue;
    EXPECT_EQ(gateway.fake().request_count(), 0u);
    EXPECT_THAT(gateway.Metrics(),
                HasSubstr("refused_total{reason=\"unauthenticated\"} 2"));
  }
}

TEST_F(AccessTest, ATokenForCertainCamerasReachesTheseOnly) {
  for (const Row& row : Table()) {
    for (const Role role : {Role::kViewer, Role::kOperator, Role::kAdmin}) {
      const std::string token = absl::StrCat(RoleName(role), "-of-two");
      SCOPED_TRACE(absl::StrCat(row.method, " ", row.path, " ", token));
      Answer(Which::kOwn);
      const RawAnswer own = Ask(row, token, Which::kOwn);
      Answer(Which::kOther);
      const RawAnswer other = Ask(row, token, Which::kOther);
      Answer(Which::kUnknown);
      const RawAnswer unknown = Ask(row, token, Which::kUnknown);
      if (role < row.role || row.limited == Limited::kRefused) {
        EXPECT_EQ(own.code, 403);
        EXPECT_EQ(other.code, 403);
        EXPECT_EQ(unknown.body, other.body);
        continue;
      }
      EXPECT_LT(own.code, 300) << own.body;
      switch (row.limited) {
        case Limited::kSame:
          EXPECT_EQ(other.code, own.code);
          break;
        case Limited::kFiltered:
          EXPECT_LT(other.code, 300);
          EXPECT_THAT(own.body, Not(HasSubstr("CAM-OTHER")));
          EXPECT_THAT(other.body, Not(HasSubstr("CAM-OTHER")));
          break;
        case Limited::kNotFound:
        case Limited::kForbidden:
          EXPECT_EQ(other.code, row.limited == Limited::kNotFound ? 404 : 403);
          EXPECT_EQ(unknown.code, other.code);
          EXPECT_EQ(absl::StrReplaceAll(unknown.body, {{"CAM-NONE", "X"}}),
                    absl::StrReplaceAll(other.body, {{"CAM-OTHER", "X"}}));
          EXPECT_THAT(unknown.body, Not(HasSubstr("gate-of-another")));
          break;
        case Limited::kRefused:
          break;
      }
    }
  }
}

TEST_F(AccessTest, APagesTokenNamesNothingOfAnothers) {
  FakeBackends::Answers& answers = fake().answers;
  for (const char* name : {"CAM-A", "CAM-B", "CAM-OWN", "CAM-P", "CAM-Q",
                           "CAM-SECOND", "CAM-X", "CAM-Y", "CAM-Z"}) {
    answers.cameras.add_cameras()->set_camera_id(name);
    v1::Stream* stream = answers.streams.add_streams();
    stream->set_camera_id(name);
    stream->set_session_id(absl::StrCat("session-of-", name));
    answers.grids.add_grids()->set_session_id(stream->session_id());
  }
  for (const char* list : {"cameras", "grids"}) {
    for (const int size : {1, 2, 3, 4, 6, 8}) {
      SCOPED_TRACE(absl::StrCat(list, " by ", size));
      std::vector<std::string> told;
      std::string token;
      do {
        const RawAnswer answer =
            gateway::Ask(gateway_.address(), "GET",
                         absl::StrCat("/api/v1/", list, "?page_size=", size,
                                      "&page_token=", token),
                         "", {"Authorization: Bearer viewer-of-two"});
        ASSERT_EQ(answer.code, 200) << answer.body;
        const auto page = nlohmann::json::parse(answer.body);
        for (const auto& item : page[list]) {
          told.push_back(item.value("camera_id", "") +
                         item.value("session_id", ""));
        }
        token = page["next_page_token"];
        if (!token.empty()) {
          EXPECT_EQ(token, told.back());
        }
      } while (!token.empty());
      ASSERT_EQ(told.size(), 2u);
      EXPECT_THAT(told[0], HasSubstr("CAM-OWN"));
      EXPECT_THAT(told[1], HasSubstr("CAM-SECOND"));
    }
  }
}

TEST_F(AccessTest, WhoHasNoTokenIsToldThatItIsNotReadyAndNotWhy) {
  fake().SetServing(false);
  const auto ready = [this](std::vector<std::string> headers) {
    const RawAnswer answer =
        gateway::Ask(gateway_.address(), "GET", "/readyz", "", headers);
    EXPECT_EQ(answer.code, 503);
    return answer.body;
  };
  EXPECT_THAT(ready({"Authorization: Bearer viewer"}),
              HasSubstr("the capture service is not serving"));
  for (const std::string& body : {ready({}), ready({"Cookie: no=login"}),
                                  ready({"Authorization: Bearer wrong"})}) {
    EXPECT_EQ(body, R"({"ready":false,"reason":"","services":{)"
                    R"("aggregator":{"ready":false,"reason":""},)"
                    R"("capture":{"ready":false,"reason":""},)"
                    R"("inference":{"ready":false,"reason":""}}})"
                    "\n");
  }
}

TEST_F(AccessTest, WhatEveryoneMayAskOfTheServicesKeepsNothingElseWaiting) {
  for (const Route& route : gateway_.routes()) {
    EXPECT_EQ(route.lane == Lane::kHealth, route.path == "/readyz")
        << route.path;
  }
}

TEST_F(AccessTest, ListsHoldWhatIsTheTokensOwn) {
  Answer(Which::kOwn);
  const auto get = [this](const std::string& target, const char* token) {
    return gateway::Ask(gateway_.address(), "GET", target, "",
                        {absl::StrCat("Authorization: Bearer ", token)})
        .body;
  };
  for (const char* path :
       {"/api/v1/streams", "/api/v1/grids", "/api/v1/cameras"}) {
    EXPECT_THAT(get(path, "viewer"), HasSubstr("CAM-OTHER")) << path;
    EXPECT_THAT(get(path, "viewer-of-two"), HasSubstr("CAM-OWN")) << path;
  }
  EXPECT_THAT(get("/api/v1/streams?camera_id=CAM-OTHER", "viewer-of-two"),
              HasSubstr("\"streams\":[]"));
  // Of records the store itself leaves out the others.
  get("/api/v1/records", "viewer-of-two");
  EXPECT_THAT(fake().Last<v1::ListRecordsRequest>().camera_ids(),
              ElementsAre("CAM-OWN", "CAM-SECOND"));
  get("/api/v1/records?camera_ids=CAM-SECOND,CAM-OTHER", "viewer-of-two");
  EXPECT_THAT(fake().Last<v1::ListRecordsRequest>().camera_ids(),
              ElementsAre("CAM-SECOND"));
  get("/api/v1/records?camera_ids=CAM-OTHER", "viewer-of-two");
  EXPECT_THAT(fake().Last<v1::ListRecordsRequest>().camera_ids(),
              ElementsAre("CAM-OTHER"));
  EXPECT_EQ(fake().Last<v1::ListRecordsRequest>().camera_id(), "CAM-OWN");
  get("/api/v1/records/export?camera_id=CAM-OTHER", "viewer-of-two");
  const auto exported = fake().Last<v1::ExportRecordsRequest>();
  EXPECT_EQ(exported.camera_id(), "CAM-OTHER");
  EXPECT_THAT(exported.camera_ids(), ElementsAre("CAM-OWN", "CAM-SECOND"));
}

TEST_F(AccessTest, PagesAreFullOfWhatIsTheTokensOwn) {
  Answer(Which::kOwn);
  // One of three is the token's own, alternately of its first and second
  // camera.
  fake().answers.streams.clear_streams();
  for (int i = 0; i < 21; ++i) {
    v1::Stream* stream = fake().answers.streams.add_streams();
    stream->set_stream_id(absl::StrCat(i));
    stream->set_camera_id(i % 3 != 0   ? "CAM-OTHER"
                          : i % 2 != 0 ? "CAM-SECOND"
                                       : "CAM-OWN");
  }
  std::vector<std::string> pages;
  std::string token;
  do {
    const std::string body =
        gateway::Ask(
            gateway_.address(), "GET",
            absl::StrCat("/api/v1/streams?page_size=3&page_token=", token), "",
            {"Authorization: Bearer viewer-of-two"})
            .body;
    const auto page = nlohmann::json::parse(body);
    std::string& ids = pages.emplace_back();
    for (const auto& stream : page["streams"]) {
      absl::StrAppend(&ids, stream["stream_id"].get<std::string>(), " ");
    }
    token = page["next_page_token"];
  } while (!token.empty() && pages.size() < 10);
  EXPECT_THAT(pages, ElementsAre("0 3 6 ", "9 12 15 ", "18 "));
}

TEST_F(AccessTest, TheStreamThatWasLookedAtIsTheOneThatIsChanged) {
  Answer(Which::kOwn);
  gateway::Ask(gateway_.address(), "POST", "/api/v1/streams/gate/stop", "",
               {"Authorization: Bearer admin-of-two"});
  EXPECT_EQ(fake().Last<v1::StopStreamRequest>().stream(), "stream-1");
}

TEST_F(AccessTest, APageLogsInByCookieAndOtherSitesCannotUseIt) {
  Answer(Which::kOwn);
  const auto session = [this](const std::vector<std::string>& headers) {
    return nlohmann::json::parse(
        gateway::Ask(gateway_.address(), "GET", "/api/v1/session", "", headers)
            .body);
  };
  EXPECT_EQ(session({}), nlohmann::json::parse(
                             R"({"auth_required":true,"authenticated":false,
      "name":"","role":"none","cameras":[],"expires_at":null})"));
  const std::string host = absl::StrCat("Host: ", gateway_.address());
  const std::string origin =
      absl::StrCat("Origin: http://", gateway_.address());
  const RawAnswer login =
      gateway::Ask(gateway_.address(), "POST", "/api/v1/login",
                   R"({"token":"operator-of-two"})",
                   {kJson, host, origin, "Sec-Fetch-Site: same-origin"});
  ASSERT_EQ(login.code, 200) << login.body;
  EXPECT_THAT(login.body, Not(HasSubstr("token\"")));
  const std::string set = login.Header("Set-Cookie");
  EXPECT_THAT(set, HasSubstr("; HttpOnly; SameSite=Strict"));
  const std::string cookie =
      absl::StrCat("Cookie: ", set.substr(0, set.find(';')));
  const auto known = session({cookie});
  EXPECT_EQ(known["authenticated"], true);
  EXPECT_EQ(known["role"], "operator");
  EXPECT_EQ(known["name"], "operator-of-two");
  EXPECT_EQ(known["cameras"][0], "CAM-OWN");
  EXPECT_TRUE(known["expires_at"].is_string());

  const auto stop = [&](const std::vector<std::string>& more) {
    std::vector<std::string> headers = {host, cookie};
    headers.insert(headers.end(), more.begin(), more.end());
    return gateway::Ask(gateway_.address(), "POST",
                        "/api/v1/streams/CAM-OWN/stop", "", headers)
        .code;
  };
  EXPECT_EQ(stop({origin, "Sec-Fetch-Site: same-origin"}), 200);
  EXPECT_EQ(stop({"Origin: http://evil.example"}), 403);
  EXPECT_EQ(stop({"Origin: null"}), 403);
  EXPECT_EQ(stop({origin, "Sec-Fetch-Site: cross-site"}), 403);
  EXPECT_EQ(stop({"Sec-Fetch-Site: same-site"}), 403);
  EXPECT_EQ(gateway::Ask(gateway_.address(), "GET", "/api/v1/streams", "",
                         {"Host: evil.example", cookie})
                .code,
            403);
  // Logging out of another site's making would be a nuisance too.
  EXPECT_EQ(gateway::Ask(gateway_.address(), "POST", "/api/v1/logout", "",
                         {host, cookie, "Sec-Fetch-Site: cross-site"})
                .code,
            403);

  const RawAnswer logout = gateway::Ask(gateway_.address(), "POST",
                                        "/api/v1/logout", "", {host, cookie});
  EXPECT_EQ(logout.code, 200);
  EXPECT_THAT(logout.Header("Set-Cookie"), HasSubstr("Max-Age=0"));
  EXPECT_EQ(session({cookie})["authenticated"], false);
  EXPECT_EQ(stop({}), 401);
}

TEST_F(AccessTest, AWrongLoginIsAnErrorLikeAnyOther) {
  const auto login = [this](const std::string& body) {
    return gateway::Ask(gateway_.address(), "POST", "/api/v1/login", body,
                        {kJson});
  };
  for (const char* token : {"wrong", "old"}) {
    const RawAnswer answer = login(absl::StrFormat(R"({"token":"%s"})", token));
    EXPECT_EQ(answer.code, 401);
    EXPECT_EQ(nlohmann::json::parse(answer.body)["error"]["status"],
              "UNAUTHENTICATED");
    EXPECT_THAT(answer.body, Not(HasSubstr(token)));
    EXPECT_EQ(answer.Header("Set-Cookie"), "");
  }
  EXPECT_EQ(login("{}").code, 400);
  RawAnswer answer;
  for (int i = 0; i < Authenticator::kFreeFailures; ++i) {
    answer = login(absl::StrCat(R"({"token":"wrong)", i, R"("})"));
  }
  EXPECT_EQ(answer.code, 429);
  EXPECT_NE(answer.Header("Retry-After"), "");
  // Of all routes, as long as it lasts.
  EXPECT_EQ(gateway::Ask(gateway_.address(), "GET", "/api/v1/streams", "",
                         {"Authorization: Bearer viewer"})
                .code,
            429);
  EXPECT_THAT(gateway_.Metrics(),
              HasSubstr("refused_total{reason=\"login_limit\"} 1"));
}

TEST(AccessWithoutTokensTest, EveryoneIsAnAdminAndTheSessionSaysSo) {
  RunningGateway gateway;
  const auto session = nlohmann::json::parse(
      Ask(gateway.address(), "GET", "/api/v1/session").body);
  EXPECT_EQ(session["auth_required"], false);
  EXPECT_EQ(session["authenticated"], false);
  EXPECT_EQ(session["role"], "admin");
  EXPECT_EQ(Ask(gateway.address(), "POST", "/api/v1/login", R"({"token":"x"})",
                {kJson})
                .code,
            409);
}

}  // namespace
}  // namespace camherd::gateway
