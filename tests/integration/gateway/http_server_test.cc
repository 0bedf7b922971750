// SPDX-License-Identifier: Apache-2.0
#include "gateway/http_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "services/common/clock.h"
#include "tests/integration/gateway/running_gateway.h"

namespace camherd::gateway {
namespace {

using ::testing::HasSubstr;
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

TEST(HttpServerTest, HeadIsGetWithoutTheBody) {
  RunningGateway gateway;
  const RawAnswer get = Ask(gateway.address(), "GET", "/");
  const RawAnswer head = Ask(gateway.address(), "HEAD", "/");
  EXPECT_EQ(head.code, 200);
  EXPECT_EQ(head.body, "");
  EXPECT_EQ(head.Header("Content-Length"), get.Header("Content-Length"));
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
  routes.push_back({.method = "GET", .path = "/throw", .handler = thrower});
  routes.push_back({.method = "GET",
                    .path = "/stream",
                    .lane = Lane::kStream,
                    .handler = thrower});
  RunningGateway gateway(RunningGateway::DefaultOptions(), std::move(routes));
  for (const char* path : {"/throw", "/stream"}) {
    RawConnection connection(gateway.address());
    connection.Send(
        absl::StrCat("GET ", path, " HTTP/1.1\r\nHost: localhost\r\n\r\n"));
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
  EXPECT_EQ(ParseAnswer(connection.ReadAll()).code, 200);
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
  routes.push_back(
      {.method = "GET", .path = "/slow", .handler = [&](const HttpRequest&) {
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
  EXPECT_EQ(ParseAnswer(connection.ReadAll()).body, "done");
  stopper.join();
}

}  // namespace
}  // namespace camherd::gateway
