// SPDX-License-Identifier: Apache-2.0
#include "gateway/http_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/synchronization/notification.h"
#include "services/common/clock.h"
#include "tests/integration/gateway/running_gateway.h"

namespace camherd::gateway {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::Not;

constexpr char kJson[] = "Content-Type: application/json";
constexpr char kForm[] = "Content-Type: application/x-www-form-urlencoded";

TEST(HttpServerTest, ServesBothFamiliesAndEveryListenAddress) {
  HttpServer::Options options;
  options.listen = {"localhost:0", "127.0.0.1:0"};
  RunningGateway gateway(options);
  ASSERT_GE(gateway.server().addresses().size(), 2u);
  for (const std::string& address : gateway.server().addresses()) {
    EXPECT_EQ(Ask(address, "GET", "/livez").body, "ok\n") << address;
  }
}

TEST(HttpServerTest, TheDocumentsAnswersCrossTheSocketUnchanged) {
  RunningGateway gateway;
  v1::Stream* stream = gateway.fake().answers.start.mutable_stream();
  stream->set_process_name("demo");
  stream->set_state(v1::STREAM_STATE_STARTING);
  RawAnswer answer = Ask(gateway.address(), "POST", "/start",
                         "rtsp_url=rtsp://127.0.0.1:8554/demo", {kForm});
  EXPECT_EQ(answer.code, 200);
  EXPECT_EQ(answer.body, "Video stream started: process_name=demo");

  answer = Ask(gateway.address(), "POST", "/start_stream",
               R"({"rtsp_url":"rtsp://127.0.0.1/a","model_name":"animals"})",
               {kJson});
  EXPECT_EQ(nlohmann::json::parse(answer.body)["message"], "Stream started");

  gateway.fake().answers.stop.set_grid_reason(
      "Not enough frames captured: 4 of 9");
  answer =
      Ask(gateway.address(), "POST", "/stop", "process_name=demo", {kForm});
  EXPECT_EQ(answer.code, 409);
  EXPECT_THAT(answer.body, HasSubstr("Not enough frames captured: 4 of 9"));

  gateway.fake().answers.stop.set_grid_jpeg(std::string(200'000, 'j'));
  answer =
      Ask(gateway.address(), "POST", "/stop", "process_name=demo", {kForm});
  EXPECT_EQ(answer.code, 200);
  EXPECT_THAT(answer.Header("Content-Security-Policy"),
              HasSubstr("img-src 'self' data:"));
  EXPECT_GT(answer.body.size(), 260'000u);
}

TEST(HttpServerTest, EveryKindOfAnswerCarriesTheSecurityHeaders) {
  RunningGateway gateway;
  for (const char* target : {"/", "/livez", "/nothing", "/api/v1/streams"}) {
    const RawAnswer answer = Ask(gateway.address(), "GET", target);
    EXPECT_THAT(answer.Header("Content-Security-Policy"),
                ::testing::AllOf(HasSubstr("default-src 'none'"),
                                 Not(HasSubstr("unsafe"))))
        << target;
    EXPECT_EQ(answer.Header("X-Content-Type-Options"), "nosniff") << target;
    EXPECT_EQ(answer.Header("Connection"), "close") << target;
  }
}

TEST(HttpServerTest, SaysWhichMethodsAPathHas) {
  RunningGateway gateway;
  const RawAnswer wrong = Ask(gateway.address(), "DELETE", "/start_stream");
  EXPECT_EQ(wrong.code, 405);
  EXPECT_EQ(wrong.Header("Allow"), "POST, OPTIONS");
  const RawAnswer options =
      Ask(gateway.address(), "OPTIONS", "/api/v1/streams/demo");
  EXPECT_EQ(options.code, 204);
  EXPECT_EQ(options.Header("Allow"), "GET, HEAD, PATCH, DELETE, OPTIONS");
  EXPECT_EQ(Ask(gateway.address(), "GET", "/api/v2").code, 404);
}

TEST(HttpServerTest, ABodyOfAnotherTypeIsRefusedByItsNameBeforeItIsRead) {
  RunningGateway gateway;
  const struct {
    const char* method;
    const char* path;
    const char* wrong;
    const char* right;
  } cases[] = {
      {"POST", "/start_stream", "text/plain", "application/json"},
      {"POST", "/api/v1/streams", "application/xml", "application/json"},
      {"PATCH", "/api/v1/streams/demo", "application/merge-patch+json",
       "application/json"},
      {"POST", "/api/v1/streams/demo/stop", "text/html", "application/json"},
      {"PUT", "/api/v1/cameras/CAM-001", "image/jpeg",
       "application/json; charset=utf-8"},
      {"POST", "/api/v1/cameras/import", "application/json", "Text/CSV"},
      {"POST", "/api/v1/detect?model=animals", "image/png", "image/jpeg"},
      {"POST", "/api/v1/models/animals/prepare", "multipart/form-data",
       "application/x-www-form-urlencoded"},
  };
  for (const auto& one : cases) {
    const RawAnswer refused = Ask(gateway.address(), one.method, one.path, "x",
                                  {absl::StrCat("Content-Type: ", one.wrong)});
    EXPECT_EQ(refused.code, 415) << one.path;
    EXPECT_THAT(refused.body, HasSubstr("Content-Type must be ")) << one.path;
    EXPECT_THAT(refused.body, HasSubstr(one.wrong)) << one.path;
    EXPECT_NE(Ask(gateway.address(), one.method, one.path, "x",
                  {absl::StrCat("Content-Type: ", one.right)})
                  .code,
              415)
        << one.path;
  }
}

// An address of a route.
std::string Address(const Route& route) {
  return absl::StrReplaceAll(route.path, {{"{stream}", "demo"},
                                          {"{record_id}", "7"},
                                          {"{camera_id}", "CAM-001"},
                                          {"{name}", "animals"},
                                          {"{file}", "app.js"}});
}

TEST(HttpServerTest, HeadIsGetWithoutTheBodyOnEveryRoute) {
  RunningGateway gateway;
  gateway.fake().answers.export_pieces = {"line\n"};
  int routes = 0;
  for (const Route& route : gateway.routes()) {
    // Those without an end have no GET to compare with.
    if (route.method != "GET" || route.path == "/api/v1/events" ||
        absl::EndsWith(route.path, "/live.mjpeg")) {
      continue;
    }
    ++routes;
    const std::string address = Address(route);
    const RawAnswer get = Ask(gateway.address(), "GET", address);
    const RawAnswer head = Ask(gateway.address(), "HEAD", address);
    EXPECT_EQ(get.code, 200) << address;
    EXPECT_EQ(head.code, 200) << address;
    EXPECT_EQ(head.body, "") << address;
    // What this server counts has gone on in between.
    if (address == "/metrics") continue;
    for (const char* name : {"Content-Length", "Content-Type", "ETag",
                             "Cache-Control", "Transfer-Encoding"}) {
      EXPECT_EQ(head.Header(name), get.Header(name)) << name << " " << address;
    }
  }
  EXPECT_GT(routes, 15);
}

TEST(HttpServerTest, EveryRouteTellsItsMethodsAndRefusesOthers) {
  RunningGateway gateway;
  for (const Route& route : gateway.routes()) {
    const std::string address = Address(route);
    const RawAnswer options = Ask(gateway.address(), "OPTIONS", address);
    EXPECT_EQ(options.code, 204) << address;
    EXPECT_EQ(options.body, "") << address;
    const std::string allow = options.Header("Allow");
    const std::vector<std::string> allowed = absl::StrSplit(allow, ", ");
    EXPECT_THAT(allowed, Contains(route.method)) << address;
    // Each once.
    EXPECT_EQ(std::set<std::string>(allowed.begin(), allowed.end()).size(),
              allowed.size())
        << allow;
    for (const char* method :
         {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"}) {
      if (absl::c_linear_search(allowed, method)) continue;
      const RawAnswer refused = Ask(gateway.address(), method, address);
      EXPECT_EQ(refused.code, 405) << method << " " << address;
      EXPECT_EQ(refused.Header("Allow"), allow) << method << " " << address;
    }
  }
  EXPECT_EQ(gateway.fake().request_count(), 0u);
}

TEST(HttpServerTest, APictureThatIsKnownIsNotSentAgain) {
  RunningGateway gateway;
  FakeBackends::Answers& answers = gateway.fake().answers;
  answers.frame.mutable_frame()->set_jpeg("\xff\xd8one");
  answers.frame.mutable_frame()->mutable_info()->set_sha256("one");
  answers.image.set_jpeg("\xff\xd8two");
  answers.grid.set_jpeg("\xff\xd8three");
  answers.grid.mutable_grid()->add_cells()->set_sha256("three");
  std::set<std::string> tags;
  for (const char* address :
       {"/api/v1/streams/demo/latest.jpg", "/api/v1/streams/demo/grid.jpg",
        "/api/v1/records/7/frame.jpg"}) {
    const RawAnswer first = Ask(gateway.address(), "GET", address);
    EXPECT_EQ(first.code, 200) << address;
    EXPECT_EQ(first.Header("Content-Type"), "image/jpeg") << address;
    EXPECT_EQ(first.Header("Cache-Control"), "private, no-cache") << address;
    const std::string tag = first.Header("ETag");
    // A strong one.
    EXPECT_THAT(tag, MatchesRegex("\"[0-9a-f]{32}\"")) << address;
    tags.insert(tag);
    for (const std::string& known :
         {tag, absl::StrCat("\"other\", ", tag), absl::StrCat("W/", tag),
          std::string("*")}) {
      const RawAnswer again = Ask(gateway.address(), "GET", address, "",
                                  {absl::StrCat("If-None-Match: ", known)});
      EXPECT_EQ(again.code, 304) << address << " " << known;
      EXPECT_EQ(again.body, "") << address;
      EXPECT_EQ(again.Header("ETag"), tag) << address;
      EXPECT_EQ(again.Header("Cache-Control"), "private, no-cache");
    }
    EXPECT_EQ(
        Ask(gateway.address(), "GET", address, "", {"If-None-Match: \"other\""})
            .code,
        200);
  }
  EXPECT_EQ(tags.size(), 3u);
}

TEST(HttpServerTest, AnswersForItsOwnHostsOnly) {
  HttpServer::Options options = RunningGateway::DefaultOptions();
  options.allowed_hosts = {"cams.example"};
  RunningGateway gateway(options);
  for (const char* host : {"localhost", "LOCALHOST:5000", "127.0.0.1",
                           "[::1]:8000", "cams.example"}) {
    EXPECT_EQ(Ask(gateway.address(), "GET", "/livez", "",
                  {absl::StrCat("Host: ", host)})
                  .code,
              200)
        << host;
  }
  for (const char* host : {"evil.example", "localhost.evil.example",
                           "192.168.1.1", "", "a b", "localhost@evil"}) {
    EXPECT_EQ(Ask(gateway.address(), "GET", "/livez", "",
                  {absl::StrCat("Host: ", host)})
                  .code,
              403)
        << host;
  }
}

TEST(HttpServerTest, TakesWritesFromItsOwnPageAndFromProgramsOnly) {
  RunningGateway gateway;
  const auto post = [&](const std::vector<std::string>& more) {
    std::vector<std::string> headers = {
        kForm, absl::StrCat("Host: ", gateway.address())};
    headers.insert(headers.end(), more.begin(), more.end());
    return Ask(gateway.address(), "POST", "/start", "rtsp_url=rtsp://h/a",
               headers)
        .code;
  };
  EXPECT_EQ(post({}), 200);
  EXPECT_EQ(post({absl::StrCat("Origin: http://", gateway.address()),
                  "Sec-Fetch-Site: same-origin"}),
            200);
  EXPECT_EQ(post({"Origin: http://evil.example"}), 403);
  EXPECT_EQ(post({"Origin: http://localhost:1"}), 403);
  EXPECT_EQ(post({"Origin: null"}), 403);
  EXPECT_EQ(post({"Sec-Fetch-Site: cross-site"}), 403);
  EXPECT_EQ(post({"Sec-Fetch-Site: same-site"}), 403);
  EXPECT_EQ(Ask(gateway.address(), "GET", "/livez", "",
                {"Sec-Fetch-Site: cross-site"})
                .code,
            200);
}

TEST(HttpServerTest, AnExceptionsTextNeverLeaves) {
  const Handler thrower = [](const HttpRequest&) -> HttpResponse {
    throw std::runtime_error("password=hunter2");
  };
  Routes routes;
  routes.push_back({.method = "GET",
                    .path = "/throw",
                    .access = Access::Open(),
                    .handler = thrower});
  routes.push_back({.method = "GET",
                    .path = "/stream",
                    .access = Access::Open(),
                    .lane = Lane::kStream,
                    .handler = thrower});
  RunningGateway gateway(RunningGateway::DefaultOptions(), std::move(routes));
  for (const char* path : {"/throw", "/stream"}) {
    RawConnection connection(gateway.address());
    connection.Send(absl::StrCat("GET ", path,
                                 " HTTP/1.1\r\nHost: localhost\r\n"
                                 "Connection: close\r\n\r\n"));
    const std::string bytes = connection.ReadAll();
    EXPECT_EQ(ParseAnswer(bytes).code, 500) << path;
    EXPECT_THAT(bytes, Not(HasSubstr("hunter2"))) << path;
    EXPECT_THAT(bytes, HasSubstr("internal error")) << path;
  }
  EXPECT_THAT(gateway.Metrics(),
              HasSubstr("camherd_gateway_handler_exceptions_total 2"));
}

TEST(HttpServerTest, AClientThatWaitsForContinueIsToldToGoOn) {
  RunningGateway gateway;
  RawConnection connection(gateway.address());
  connection.Send(
      "POST /start HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n"
      "Content-Type: application/x-www-form-urlencoded\r\n"
      "Content-Length: 19\r\n\r\n");
  EXPECT_THAT(connection.ReadSome(absl::Seconds(5)), HasSubstr("100 Continue"));
  connection.Send("rtsp_url=rtsp://h/a");
  EXPECT_EQ(connection.ReadAnswer().code, 200);
}

constexpr char kLivez[] = "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n";

TEST(HttpServerTest, AConnectionTakesOneRequestAfterTheOther) {
  RunningGateway gateway;
  RawConnection connection(gateway.address());
  for (int i = 0; i < 3; ++i) {
    connection.Send(kLivez);
    const RawAnswer answer = connection.ReadAnswer();
    EXPECT_EQ(answer.body, "ok\n");
    EXPECT_EQ(answer.Header("Connection"), "");
    // Neither an error of a route nor one without a route ends it.
    connection.Send("GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n");
    EXPECT_EQ(connection.ReadAnswer().code, 404);
    connection.Send(
        "POST /start HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n"
        "Content-Type: application/x-www-form-urlencoded\r\n\r\na=b");
    EXPECT_EQ(connection.ReadAnswer().code, 400);
  }
}

TEST(HttpServerTest, RequestsSentAheadAreAnsweredInOrder) {
  RunningGateway gateway;
  gateway.fake().answers.export_pieces = {"line 1\n"};
  const std::string form =
      "POST /start HTTP/1.1\r\nHost: localhost\r\nContent-Length: 19\r\n"
      "Content-Type: application/x-www-form-urlencoded\r\n\r\n"
      "rtsp_url=rtsp://h/a";
  std::string all;
  for (int i = 0; i < 20; ++i) {
    absl::StrAppend(
        &all, form, "HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n", kLivez,
        "GET /api/v1/records/export HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "HEAD /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "OPTIONS /livez HTTP/1.1\r\nHost: localhost\r\n\r\n");
  }
  RawConnection connection(gateway.address());
  connection.Send(all);
  for (int i = 0; i < 20; ++i) {
    EXPECT_THAT(connection.ReadAnswer().body, HasSubstr("Video stream"));
    const RawAnswer head = connection.ReadAnswer(/*head_only=*/true);
    EXPECT_EQ(head.code, 200);
    EXPECT_NE(head.Header("Content-Length"), "0");
    EXPECT_EQ(connection.ReadAnswer().body, "ok\n");
    EXPECT_EQ(connection.ReadAnswer().body, "7\r\nline 1\n\r\n0\r\n\r\n");
    EXPECT_EQ(connection.ReadAnswer(/*head_only=*/true).code, 404);
    EXPECT_EQ(connection.ReadAnswer().code, 204);
  }
}

TEST(HttpServerTest, AConnectionEndsWhereItsClientOrTheLimitSaysSo) {
  HttpServer::Options options = RunningGateway::DefaultOptions();
  options.front.max_requests_per_connection = 3;
  RunningGateway gateway(options);
  struct Case {
    std::string request;
    int sent;
    int answered;
  };
  const std::string host = "Host: localhost\r\n";
  for (const Case& c :
       {Case{kLivez, 5, 3},
        Case{absl::StrCat("GET /livez HTTP/1.1\r\n", host,
                          "Connection: TE, Close\r\n\r\n"),
             2, 1},
        Case{absl::StrCat("GET /livez HTTP/1.0\r\n", host,
                          "Connection: keep-alive\r\n\r\n"),
             2, 1},
        // Refused: nobody knows where the next one begins.
        Case{absl::StrCat("POST /nothing HTTP/1.1\r\n", host,
                          "Content-Length: 3\r\n\r\nabc"),
             2, 1},
        Case{absl::StrCat("POST /start HTTP/1.1\r\n", host,
                          "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
             2, 1}}) {
    RawConnection connection(gateway.address());
    for (int i = 0; i < c.sent; ++i) connection.Send(c.request);
    const std::string bytes = connection.ReadAll();
    const std::vector<std::string> parts = absl::StrSplit(bytes, "HTTP/1.1 ");
    EXPECT_EQ(parts.size(), c.answered + 1u) << c.request << bytes;
    EXPECT_EQ(ParseAnswer(parts.back()).Header("Connection"), "close")
        << c.request;
  }
}

TEST(HttpServerTest, AnIdleConnectionIsClosedAfterAWhile) {
  HttpServer::Options options = RunningGateway::DefaultOptions();
  options.front.keep_alive_timeout = absl::Milliseconds(200);
  RunningGateway gateway(options);
  RawConnection connection(gateway.address());
  connection.Send(kLivez);
  EXPECT_EQ(connection.ReadAnswer().code, 200);
  EXPECT_TRUE(connection.ClosedWithin(absl::Seconds(10)));
  // It owes nobody anything.
  EXPECT_THAT(gateway.Metrics(), Not(HasSubstr("reason=\"idle\"")));
}

TEST(HttpServerTest, AnIdleConnectionMakesRoomForANewOne) {
  HttpServer::Options options = RunningGateway::DefaultOptions();
  options.front.max_connections_per_address = 4;
  RunningGateway gateway(options);
  RawConnection unfinished(gateway.address());
  unfinished.Send("GET /livez HTTP/1.1\r\n");
  std::vector<std::unique_ptr<RawConnection>> idle;
  for (int i = 0; i < 8; ++i) {
    idle.push_back(std::make_unique<RawConnection>(gateway.address()));
    idle.back()->Send(kLivez);
    EXPECT_EQ(idle.back()->ReadAnswer().code, 200);
  }
  unfinished.Send("Host: localhost\r\n\r\n");
  EXPECT_EQ(unfinished.ReadAnswer().code, 200);
  EXPECT_TRUE(idle[0]->ClosedWithin(absl::Seconds(5)));
  EXPECT_THAT(gateway.Metrics(), Not(HasSubstr("reason=\"evicted\"")));
}

TEST(HttpServerTest, AClientPastItsRateIsToldWhenToComeAgain) {
  HttpServer::Options options = RunningGateway::DefaultOptions();
  options.front.rate = {.per_second = 0.01, .burst = 3};
  RunningGateway gateway(options);
  RawConnection connection(gateway.address());
  for (const int code : {200, 200, 200, 429, 429}) {
    connection.Send(kLivez);
    const RawAnswer answer = connection.ReadAnswer();
    EXPECT_EQ(answer.code, code);
    if (code == 429) {
      EXPECT_THAT(answer.Header("Retry-After"), MatchesRegex("[1-9][0-9]?0?"));
    }
  }
  // On a connection of its own as well, and whatever it asks for.
  EXPECT_EQ(Ask(gateway.address(), "POST", "/start", "a=b").code, 429);
  EXPECT_THAT(
      gateway.Metrics(),
      HasSubstr("camherd_gateway_refused_total{reason=\"rate_limit\"} 3"));
}

TEST(HttpServerTest, AClientMayEndItsSideAfterItsRequest) {
  RunningGateway gateway;
  RawConnection connection(gateway.address());
  connection.Send("GET /livez HTTP/1.0\r\n\r\n");
  connection.ShutdownWrite();
  EXPECT_EQ(ParseAnswer(connection.ReadAll()).body, "ok\n");
}

TEST(HttpServerTest, AServiceThatHangsDelaysItsOwnRoutesOnly) {
  HttpServer::Options options = RunningGateway::DefaultOptions();
  options.threads_per_lane = 2;
  options.queue_per_lane = 4;
  RunningGateway gateway(options);
  gateway.fake().Hang(true);
  std::vector<std::unique_ptr<RawConnection>> waiting;
  for (int i = 0; i < 12; ++i) {
    waiting.push_back(std::make_unique<RawConnection>(gateway.address()));
    waiting.back()->Send(
        "GET /api/v1/streams HTTP/1.1\r\nHost: localhost\r\n\r\n");
  }
  // Six are taken; the others are told at once that there is no room.
  const RawAnswer refused = ParseAnswer(waiting.back()->ReadAll());
  EXPECT_EQ(refused.code, 503);
  EXPECT_EQ(refused.Header("Retry-After"), "1");
  const absl::Duration before = Clock::Real().SteadyNow();
  EXPECT_EQ(Ask(gateway.address(), "GET", "/livez").code, 200);
  EXPECT_LT(Clock::Real().SteadyNow() - before, absl::Seconds(1));
}

TEST(HttpServerTest, ARequestThatWaitedTooLongIsNotBegun) {
  absl::Notification started;
  absl::Notification go;
  std::atomic<int> begun = 0;
  Routes routes;
  routes.push_back({.method = "GET",
                    .path = "/slow",
                    .access = Access::Open(),
                    .handler = [&](const HttpRequest&) {
                      if (++begun == 1) started.Notify();
                      go.WaitForNotification();
                      return HttpResponse{.body = "done"};
                    }});
  HttpServer::Options options = RunningGateway::DefaultOptions();
  options.threads_per_lane = 1;
  options.queue_per_lane = 1;
  options.queue_timeout = absl::Milliseconds(50);
  RunningGateway gateway(options, std::move(routes));
  const std::string request = "GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n";
  RawConnection first(gateway.address());
  first.Send(request);
  started.WaitForNotification();
  RawConnection second(gateway.address());
  second.Send(request);
  // It is in the queue once that is full.
  RawConnection third(gateway.address());
  third.Send(request);
  EXPECT_EQ(third.ReadAnswer().code, 503);
  Clock::Real().SleepFor(options.queue_timeout);
  go.Notify();
  EXPECT_EQ(first.ReadAnswer().code, 200);
  const RawAnswer late = second.ReadAnswer();
  EXPECT_EQ(late.code, 503);
  EXPECT_EQ(late.Header("Retry-After"), "1");
  EXPECT_EQ(begun, 1);
}

TEST(HttpServerTest, ReadyMeansThatAllServicesServe) {
  RunningGateway gateway;
  RawAnswer answer = Ask(gateway.address(), "GET", "/readyz");
  EXPECT_EQ(answer.code, 200);
  EXPECT_EQ(nlohmann::json::parse(answer.body)["ready"], true);
  gateway.fake().SetServing(false);
  answer = Ask(gateway.address(), "GET", "/readyz");
  EXPECT_EQ(answer.code, 503);
  EXPECT_THAT(answer.body, HasSubstr("the capture service is not serving"));
  gateway.fake().Shutdown();
  answer = Ask(gateway.address(), "GET", "/readyz");
  EXPECT_EQ(answer.code, 503);
  EXPECT_THAT(answer.body,
              HasSubstr("the aggregator service cannot be reached"));
  EXPECT_EQ(Ask(gateway.address(), "GET", "/livez").code, 200);
}

TEST(HttpServerTest, NotReadyWhileItStops) {
  RunningGateway gateway;
  gateway.stopping() = true;
  EXPECT_EQ(Ask(gateway.address(), "GET", "/readyz").code, 503);
}

TEST(HttpServerTest, CountsRequestsByRouteAndRefusalsByReason) {
  RunningGateway gateway;
  Ask(gateway.address(), "GET", "/api/v1/streams/demo");
  Ask(gateway.address(), "POST", "/livez", "", {"Transfer-Encoding: chunked"});
  const std::string metrics = Ask(gateway.address(), "GET", "/metrics").body;
  EXPECT_THAT(metrics, HasSubstr("route=\"/api/v1/streams/{stream}\""));
  EXPECT_THAT(
      metrics,
      HasSubstr(
          "camherd_gateway_refused_total{reason=\"transfer_encoding\"} 1"));
}

TEST(HttpServerTest, StopLetsTheRequestInWorkEnd) {
  absl::Notification started;
  absl::Notification go;
  Routes routes;
  routes.push_back({.method = "GET",
                    .path = "/slow",
                    .access = Access::Open(),
                    .handler = [&](const HttpRequest&) {
                      started.Notify();
                      go.WaitForNotification();
                      return HttpResponse{.body = "done"};
                    }});
  RunningGateway gateway(RunningGateway::DefaultOptions(), std::move(routes));
  RawConnection connection(gateway.address());
  connection.Send("GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n");
  started.WaitForNotification();
  std::thread stopper([&] { gateway.server().Drain(absl::Seconds(20)); });
  go.Notify();
  EXPECT_EQ(connection.ReadAnswer().body, "done");
  stopper.join();
}

}  // namespace
}  // namespace camherd::gateway
