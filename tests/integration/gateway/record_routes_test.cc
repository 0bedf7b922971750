// SPDX-License-Identifier: Apache-2.0
#include "gateway/record_routes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstdint>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "services/common/clock.h"
#include "services/common/file.h"
#include "tests/integration/gateway/running_gateway.h"

// Exports over a real socket: answers that are sent as they are made.
namespace camherd::gateway {
namespace {

using ::testing::HasSubstr;

constexpr char kPath[] = "/api/v1/records/export";

// What a reader of a whole answer has: its body out of chunks. False: it has no
// end.
bool ReadChunks(const std::string& bytes, std::string* body) {
  size_t at = 0;
  while (true) {
    const size_t line = bytes.find("\r\n", at);
    if (line == std::string::npos) return false;
    const size_t size = std::stoul(bytes.substr(at, line - at), nullptr, 16);
    if (bytes.size() < line + 2 + size + 2) return false;
    if (size == 0) return line + 4 == bytes.size();
    body->append(bytes, line + 2, size);
    at = line + 2 + size + 2;
  }
}

bool WaitFor(const std::function<bool()>& condition) {
  const absl::Duration until = Clock::Real().SteadyNow() + absl::Seconds(20);
  while (!condition()) {
    if (Clock::Real().SteadyNow() > until) return false;
    Clock::Real().SleepFor(absl::Milliseconds(2));
  }
  return true;
}

std::unique_ptr<RawConnection> AskSlowly(const std::string& address,
                                         absl::string_view version = "1.1") {
  auto connection = std::make_unique<RawConnection>(address);
  // Little room, so that the gateway soon waits for the reader.
  const int room = 16 << 10;
  setsockopt(connection->fd(), SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
  connection->Send(absl::StrCat("GET ", kPath, " HTTP/", version,
                                "\r\nHost: localhost\r\n\r\n"));
  return connection;
}

// True if the connection was reset, rather than ended, after what was read.
bool IsReset(RawConnection& connection) {
  char bytes[65536];
  while (true) {
    const ssize_t got = recv(connection.fd(), bytes, sizeof bytes, 0);
    if (got < 0) return errno == ECONNRESET;
    if (got == 0) return false;
  }
}

TEST(RecordRoutesTest, AnExportIsSentInChunksWithTypeAndName) {
  RunningGateway gateway;
  gateway.fake().answers.export_pieces = {"{\"a\"", std::string(60000, ' '),
                                          ":1}\n"};
  const std::string want =
      absl::StrCat("{\"a\"", std::string(60000, ' '), ":1}\n");
  struct Case {
    const char* query;
    v1::ExportFormat format;
    const char* type;
    const char* name;
  };
  const Case cases[] = {
      {"", v1::EXPORT_FORMAT_JSONL, "application/x-ndjson", "records.jsonl"},
      {"?format=jsonl", v1::EXPORT_FORMAT_JSONL, "application/x-ndjson",
       "records.jsonl"},
      {"?format=array", v1::EXPORT_FORMAT_ARRAY, "application/json",
       "records.json"},
      {"?format=csv", v1::EXPORT_FORMAT_CSV, "text/csv; charset=utf-8",
       "records.csv"},
      {"?format=geojson", v1::EXPORT_FORMAT_GEOJSON, "application/geo+json",
       "records.geojson"}};
  for (const Case& c : cases) {
    const RawAnswer answer =
        Ask(gateway.address(), "GET", absl::StrCat(kPath, c.query));
    EXPECT_EQ(answer.code, 200) << c.query;
    EXPECT_EQ(answer.Header("Transfer-Encoding"), "chunked");
    EXPECT_EQ(answer.Header("Content-Length"), "");
    EXPECT_EQ(answer.Header("Content-Type"), c.type);
    EXPECT_EQ(answer.Header("Content-Disposition"),
              absl::StrCat("attachment; filename=\"", c.name, "\""));
    EXPECT_EQ(answer.Header("X-Content-Type-Options"), "nosniff");
    std::string body;
    EXPECT_TRUE(ReadChunks(answer.body, &body)) << c.query;
    EXPECT_EQ(body, want) << c.query;
    EXPECT_EQ(gateway.fake().Last<v1::ExportRecordsRequest>().format(),
              c.format);
  }
}

TEST(RecordRoutesTest, TheFiltersReachTheService) {
  RunningGateway gateway;
  const RawAnswer answer = Ask(gateway.address(), "GET",
                               absl::StrCat(kPath,
                                            "?format=csv&camera_id=CAM-001&"
                                            "since=2026-08-01T10:15:00Z&until="
                                            "2026-08-02T00:00:00Z"));
  // Without records there is an empty file.
  EXPECT_EQ(answer.code, 200);
  EXPECT_EQ(answer.body, "0\r\n\r\n");
  const auto request = gateway.fake().Last<v1::ExportRecordsRequest>();
  EXPECT_EQ(request.camera_id(), "CAM-001");
  EXPECT_EQ(request.since().seconds(), 1785579300);
  EXPECT_EQ(request.until().seconds(), 1785628800);
}

TEST(RecordRoutesTest, WhatFailsBeforeTheFirstByteIsAnErrorInJson) {
  RunningGateway gateway;
  const auto message = [](const RawAnswer& answer) {
    EXPECT_NE(answer.Header("Content-Length"), "");
    return std::string(nlohmann::json::parse(answer.body)["error"]["message"]);
  };
  RawAnswer answer =
      Ask(gateway.address(), "GET", absl::StrCat(kPath, "?format=xml"));
  EXPECT_EQ(answer.code, 400);
  EXPECT_THAT(message(answer), HasSubstr("xml"));
  gateway.fake().FailWith(absl::InvalidArgumentError("since must be before"));
  answer = Ask(gateway.address(), "GET", kPath);
  EXPECT_EQ(answer.code, 400);
  EXPECT_THAT(message(answer), HasSubstr("since"));
  gateway.fake().FailWith(absl::ResourceExhaustedError("too many exports run"));
  EXPECT_EQ(Ask(gateway.address(), "GET", kPath).code, 429);
  gateway.fake().FailWith(absl::OkStatus());
  gateway.fake().Shutdown();
  EXPECT_EQ(Ask(gateway.address(), "GET", kPath).code, 503);
}

TEST(RecordRoutesTest, AnErrorMidwayBreaksTheConnection) {
  RunningGateway gateway;
  gateway.fake().answers.export_pieces = {"line 1\n", "line 2\n"};
  gateway.fake().answers.export_end = absl::DataLossError("row 3 is damaged");
  for (const char* version : {"1.1", "1.0"}) {
    const auto connection = AskSlowly(gateway.address(), version);
    EXPECT_TRUE(IsReset(*connection)) << version;
  }
  EXPECT_THAT(
      gateway.Metrics(),
      HasSubstr("camherd_gateway_refused_total{reason=\"stream_broken\"} 2"));
}

TEST(RecordRoutesTest, AClientOfOldReadsToTheEndOfTheConnection) {
  RunningGateway gateway;
  gateway.fake().answers.export_pieces = {"line 1\n", "line 2\n"};
  RawConnection connection(gateway.address());
  connection.Send(absl::StrCat("GET ", kPath, " HTTP/1.0\r\n\r\n"));
  const RawAnswer answer = ParseAnswer(connection.ReadAll());
  EXPECT_EQ(answer.Header("Transfer-Encoding"), "");
  EXPECT_EQ(answer.body, "line 1\nline 2\n");
}

TEST(RecordRoutesTest, HeadHasTheHeadOnly) {
  RunningGateway gateway;
  gateway.fake().answers.export_pieces = {"line 1\n"};
  const RawAnswer answer = Ask(gateway.address(), "HEAD", kPath);
  EXPECT_EQ(answer.code, 200);
  EXPECT_EQ(answer.Header("Content-Type"), "application/x-ndjson");
  EXPECT_EQ(answer.body, "");
}

TEST(RecordRoutesTest, ASlowReaderHoldsNeitherMemoryNorOthers) {
  HttpServer::Options options = RunningGateway::DefaultOptions();
  options.threads_per_lane = 2;
  options.queue_per_lane = 4;
  RunningGateway gateway(options);
  gateway.fake().answers.export_pieces = {std::string(60000, 'x')};
  gateway.fake().answers.export_endless = true;
  std::vector<std::unique_ptr<RawConnection>> slow;
  for (int i = 0; i < 2; ++i) slow.push_back(AskSlowly(gateway.address()));
  for (const auto& connection : slow) {
    EXPECT_THAT(connection->ReadSome(absl::Seconds(20)), HasSubstr("200 OK"));
  }
  // Both are stuck: nothing more is asked of the service.
  int64_t before = -1;
  ASSERT_TRUE(WaitFor([&] {
    const int64_t now = gateway.fake().export_pieces_sent();
    Clock::Real().SleepFor(absl::Milliseconds(200));
    return std::exchange(before, now) == now;
  }));
  // What the sockets, gRPC's windows and the gateway hold, for both together.
  EXPECT_LT(before * 60000, 40 << 20);
  // All threads of exports are taken, and those of nothing else.
  EXPECT_EQ(Ask(gateway.address(), "GET", "/api/v1/records").code, 200);
  EXPECT_EQ(Ask(gateway.address(), "GET", "/livez").code, 200);
  // They go on as they are read.
  size_t read = 0;
  while (gateway.fake().export_pieces_sent() == before) {
    const std::string piece = slow[0]->ReadSome(absl::Seconds(20));
    ASSERT_NE(piece, "");
    read += piece.size();
    // More than all buffers in between.
    ASSERT_LT(read, 40 << 20);
  }
}

TEST(RecordRoutesTest, AReaderThatTakesNothingIsCutOffAfterAWhile) {
  HttpServer::Options options = RunningGateway::DefaultOptions();
  options.front.write_timeout = absl::Milliseconds(300);
  RunningGateway gateway(options);
  gateway.fake().answers.export_pieces = {std::string(60000, 'x')};
  gateway.fake().answers.export_endless = true;
  const auto slow = AskSlowly(gateway.address());
  ASSERT_TRUE(WaitFor([&] { return gateway.fake().exports_cancelled() == 1; }));
  EXPECT_TRUE(IsReset(*slow));
  EXPECT_THAT(
      gateway.Metrics(),
      HasSubstr("camherd_gateway_refused_total{reason=\"slow_reader\"} 1"));
}

TEST(RecordRoutesTest, AClientThatGoesAwayEndsTheCallOfTheService) {
  RunningGateway gateway;
  gateway.fake().answers.export_pieces = {std::string(60000, 'x')};
  gateway.fake().answers.export_endless = true;
  for (int i = 1; i <= 3; ++i) {
    auto connection = std::make_unique<RawConnection>(gateway.address());
    connection->Send(
        absl::StrCat("GET ", kPath, " HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    EXPECT_NE(connection->ReadSome(absl::Seconds(20)), "");
    connection = nullptr;
    EXPECT_TRUE(
        WaitFor([&] { return gateway.fake().exports_cancelled() == i; }));
  }
}

TEST(RecordRoutesTest, AnExportEndsWithTheLoginThatAskedForIt) {
  RunningGateway gateway(
      RunningGateway::DefaultOptions(), {}, 256,
      {.required = true,
       .tokens = {absl::StrCat(Sha256Hex("good"), " viewer wall")}});
  gateway.fake().answers.export_pieces = {std::string(60000, 'x')};
  gateway.fake().answers.export_endless = true;
  const std::string set =
      Ask(gateway.address(), "POST", "/api/v1/login", R"({"token":"good"})",
          {"Content-Type: application/json"})
          .Header("Set-Cookie");
  const std::string cookie =
      absl::StrCat("Cookie: ", set.substr(0, set.find(';')));
  RawConnection connection(gateway.address());
  connection.Send(absl::StrCat(
      "GET ", kPath, " HTTP/1.1\r\nHost: localhost\r\n", cookie, "\r\n\r\n"));
  EXPECT_THAT(connection.ReadSome(absl::Seconds(20)), HasSubstr("200 OK"));
  EXPECT_EQ(Ask(gateway.address(), "POST", "/api/v1/logout", "", {cookie}).code,
            200);
  EXPECT_TRUE(IsReset(connection));
  EXPECT_TRUE(WaitFor([&] { return gateway.fake().exports_cancelled() == 1; }));
}

TEST(RecordRoutesTest, AStopBreaksOffWhatIsBeingSent) {
  RunningGateway gateway;
  gateway.fake().answers.export_pieces = {std::string(60000, 'x')};
  gateway.fake().answers.export_endless = true;
  const auto connection = AskSlowly(gateway.address());
  EXPECT_NE(connection->ReadSome(absl::Seconds(20)), "");
  gateway.server().Drain(absl::Milliseconds(10));
  gateway.clients().Cancel();
  gateway.server().Stop();
  EXPECT_TRUE(IsReset(*connection));
}

}  // namespace
}  // namespace camherd::gateway
