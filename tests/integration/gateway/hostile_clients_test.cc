// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "services/common/clock.h"
#include "tests/integration/gateway/running_gateway.h"

// What the library behind the guard falls for, tried on the guard: chunked and
// compressed bombs, endless headers, slow and idle connections, smuggling,
// ranges. Nothing may cost memory or other people's time.
namespace camherd::gateway {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

#ifdef CAMHERD_SANITIZED
// Shadow memory and quarantine hide what the server itself takes.
constexpr int64_t kMaxGrowthKiB = 400'000;
#else
constexpr int64_t kMaxGrowthKiB = 24'000;
#endif

int64_t ResidentKiB() {
  std::ifstream file("/proc/self/status");
  for (std::string line; std::getline(file, line);) {
    if (!absl::StartsWith(line, "VmRSS:")) continue;
    const std::vector<std::string> words =
        absl::StrSplit(line, absl::ByAnyChar(" \t"), absl::SkipEmpty());
    int64_t value = 0;
    (void)absl::SimpleAtoi(words[1], &value);
    return value;
  }
  return 0;
}

class HostileClientsTest : public ::testing::Test {
 protected:
  HostileClientsTest() {
    (void)Ask(address(), "GET", "/");
    before_ = ResidentKiB();
  }
  ~HostileClientsTest() override {
    EXPECT_LT(ResidentKiB() - before_, kMaxGrowthKiB);
    EXPECT_EQ(Ask(address(), "GET", "/livez").code, 200);
  }

  const std::string& address() const { return gateway_.address(); }

  // The answer to bytes sent as they are.
  RawAnswer Sent(absl::string_view bytes) {
    RawConnection connection(address());
    connection.Send(bytes);
    return ParseAnswer(connection.ReadAll());
  }

  // Sends `piece` up to `times` until the server has had enough.
  RawAnswer Flood(absl::string_view start, absl::string_view piece, int times) {
    RawConnection connection(address());
    connection.Send(start);
    for (int i = 0; i < times; ++i) {
      if (!connection.Send(piece)) break;
    }
    return ParseAnswer(connection.ReadAll());
  }

  absl::Duration TimeOfAnOrdinaryRequest() {
    const absl::Duration before = Clock::Real().SteadyNow();
    EXPECT_EQ(Ask(address(), "GET", "/livez").code, 200);
    return Clock::Real().SteadyNow() - before;
  }

  RunningGateway gateway_;
  int64_t before_ = 0;
};

TEST_F(HostileClientsTest, AChunkedBombIsNotRead) {
  const std::string chunk =
      absl::StrCat("10000\r\n", std::string(0x10000, 'a'), "\r\n");
  const RawAnswer answer = Flood(
      "POST /start HTTP/1.1\r\nHost: localhost\r\n"
      "Transfer-Encoding: chunked\r\n\r\n",
      chunk, 3200);
  // The answer, or a reset for going on after it.
  EXPECT_THAT(answer.code, ::testing::AnyOf(501, 0));
}

TEST_F(HostileClientsTest, AChunkSizeOfMinusTwoIsNotRead) {
  EXPECT_EQ(Sent("POST /start HTTP/1.1\r\nHost: localhost\r\n"
                 "Transfer-Encoding: chunked\r\n\r\n-2\r\nabc")
                .code,
            501);
}

TEST_F(HostileClientsTest, ACompressedBodyIsNotUnpacked) {
  EXPECT_EQ(Sent("POST /start HTTP/1.1\r\nHost: localhost\r\n"
                 "Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\n"
                 "\x1f\x8b\x08\x01")
                .code,
            415);
}

TEST_F(HostileClientsTest, HalfAMillionHeadersAreNotKept) {
  std::string many;
  for (int i = 0; i < 1000; ++i) absl::StrAppend(&many, "X-", i, ": b\r\n");
  const RawAnswer answer =
      Flood("GET / HTTP/1.1\r\nHost: localhost\r\n", many, 500);
  EXPECT_THAT(answer.code, ::testing::AnyOf(431, 0));
}

TEST_F(HostileClientsTest, AnEndlessLineIsNotRead) {
  const RawAnswer answer = Flood("GET /", std::string(1 << 20, 'a'), 200);
  EXPECT_THAT(answer.code, ::testing::AnyOf(431, 0));
}

TEST_F(HostileClientsTest, AHugeLengthIsRefusedBeforeItsBody) {
  for (const char* length : {"65537", "4294967296", "18446744073709551616",
                             "99999999999999999999"}) {
    EXPECT_EQ(Sent(absl::StrCat("POST /start HTTP/1.1\r\nHost: localhost\r\n"
                                "Content-Length: ",
                                length, "\r\n\r\n"))
                  .code,
              413)
        << length;
  }
  // Also for a client that sends it all before it listens.
  EXPECT_EQ(Ask(address(), "POST", "/start", std::string(200'000, 'a')).code,
            413);
}

TEST_F(HostileClientsTest, ABodyOf64KiBIsTaken) {
  const RawAnswer answer =
      Ask(address(), "POST", "/start", std::string(65536, 'a'),
          {"Content-Type: application/x-www-form-urlencoded"});
  EXPECT_EQ(answer.code, 400);
  EXPECT_THAT(answer.body, HasSubstr("unknown field"));
}

TEST_F(HostileClientsTest, OneConnectionGetsOneAnswer) {
  const std::string second =
      "GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n";
  for (const std::string& first :
       {absl::StrCat("GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        absl::StrCat("GET /livez HTTP/1.1\r\nHost: localhost\r\n"
                     "Content-Length: ",
                     second.size(), "\r\n\r\n"),
        absl::StrCat("POST /start HTTP/1.1\r\nHost: localhost\r\n"
                     "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n"
                     "0\r\n\r\n"),
        absl::StrCat("POST /start HTTP/1.1\r\nHost: localhost\r\n"
                     "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
        absl::StrCat("POST /start HTTP/1.1\r\nHost: localhost\r\n"
                     "Content-Length: 0\r\nContent-Length: 5\r\n\r\n"),
        absl::StrCat("POST /start HTTP/1.1\r\nHost: localhost\r\n"
                     "Content-Length: abc\r\n\r\n")}) {
    RawConnection connection(address());
    connection.Send(first + second);
    const std::string bytes = connection.ReadAll();
    EXPECT_THAT(bytes, HasSubstr("HTTP/1.1 "));
    EXPECT_EQ(bytes.find("HTTP/1.1 ", 1), std::string::npos) << bytes;
    EXPECT_THAT(bytes, Not(HasSubstr("smuggled")));
  }
}

TEST_F(HostileClientsTest, RangesAreIgnored) {
  std::string ranges = "Range: bytes=0-0";
  for (int i = 0; i < 1900; ++i) absl::StrAppend(&ranges, ",0-0");
  const RawAnswer all = Ask(address(), "GET", "/static/api.js");
  const RawAnswer answer =
      Ask(address(), "GET", "/static/api.js", "", {ranges});
  EXPECT_EQ(answer.code, 200);
  EXPECT_EQ(answer.body, all.body);
}

TEST_F(HostileClientsTest, ANulInAPathServesNoOtherFile) {
  EXPECT_EQ(Ask(address(), "GET", "/static/app.js%00.css").code, 400);
  EXPECT_EQ(Ask(address(), "GET", "/static/..%2f..%2fetc%2fpasswd").code, 400);
  EXPECT_EQ(Ask(address(), "GET", "/static/../../etc/passwd").code, 404);
}

TEST_F(HostileClientsTest, AnEncodedLineBreakInAHeaderGoesNowhere) {
  const RawAnswer answer = Ask(address(), "GET", "/livez", "",
                               {"X-Thing: a%0d%0aSet-Cookie: b",
                                "If-None-Match: \"a%0d%0aSet-Cookie: b\""});
  EXPECT_EQ(answer.code, 200);
  EXPECT_THAT(answer.head, Not(HasSubstr("Set-Cookie")));
}

TEST_F(HostileClientsTest, WhatIsNoHttpIsToldSoAtOnce) {
  EXPECT_EQ(Sent("\x16\x03\x01\x02\x00\x01\x00\x01\xfc").code, 400);
  EXPECT_EQ(Sent("hello\n").code, 400);
}

TEST_F(HostileClientsTest, SlowAndIdleConnectionsDelayNobody) {
  std::vector<std::unique_ptr<RawConnection>> slow;
  for (int i = 0; i < 48; ++i) {
    slow.push_back(std::make_unique<RawConnection>(address()));
    slow.back()->Send("GET / HTTP/1.1\r\nX-Drip: ");
  }
  for (int i = 0; i < 64; ++i) {
    slow.push_back(std::make_unique<RawConnection>(address()));
  }
  for (int round = 0; round < 5; ++round) {
    for (int i = 0; i < 48; ++i) slow[i]->Send("x");
    EXPECT_LT(TimeOfAnOrdinaryRequest(), absl::Seconds(1));
  }
}

TEST_F(HostileClientsTest, MoreConnectionsThanOneAddressMayHaveEvictTheOldest) {
  std::vector<std::unique_ptr<RawConnection>> idle;
  for (int i = 0; i < 200; ++i) {
    idle.push_back(std::make_unique<RawConnection>(address()));
  }
  EXPECT_LT(TimeOfAnOrdinaryRequest(), absl::Seconds(1));
  EXPECT_TRUE(idle.front()->ClosedWithin(absl::Seconds(5)));
  EXPECT_THAT(gateway_.Metrics(),
              HasSubstr("camherd_gateway_refused_total{reason=\"evicted\"}"));
}

TEST(SlowClientsTest, ARequestThatDoesNotArriveInTimeIsGivenUp) {
  HttpServer::Options options = RunningGateway::DefaultOptions();
  options.front.read_timeout = absl::Milliseconds(200);
  RunningGateway gateway(options);
  RawConnection silent(gateway.address());
  RawConnection half(gateway.address());
  half.Send(
      "POST /start HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n"
      "\r\nabc");
  EXPECT_EQ(ParseAnswer(half.ReadAll()).code, 408);
  EXPECT_EQ(silent.ReadAll(), "");
}

TEST(SlowClientsTest, AReaderThatDoesNotReadIsGivenUp) {
  HttpServer::Options options = RunningGateway::DefaultOptions();
  options.front.write_timeout = absl::Milliseconds(300);
  Routes routes;
  routes.push_back(
      {.method = "GET", .path = "/big", .handler = [](const HttpRequest&) {
         return HttpResponse{.body = std::string(16 << 20, 'b')};
       }});
  RunningGateway gateway(options, std::move(routes));
  RawConnection connection(gateway.address());
  connection.Send("GET /big HTTP/1.1\r\nHost: localhost\r\n\r\n");
  const absl::Duration until = Clock::Real().SteadyNow() + absl::Seconds(10);
  while (!absl::StrContains(gateway.Metrics(), "slow_reader") &&
         Clock::Real().SteadyNow() < until) {
    Clock::Real().SleepFor(absl::Milliseconds(10));
  }
  EXPECT_THAT(gateway.Metrics(), HasSubstr("reason=\"slow_reader\"} 1"));
  EXPECT_LT(connection.ReadAll().size(), size_t{16 << 20});
}

TEST(SlowClientsTest, LargeAnswersToSlowReadersAreBoundedInMemory) {
  HttpServer::Options options = RunningGateway::DefaultOptions();
  options.front.max_buffered_bytes = 40 << 20;
  Routes routes;
  routes.push_back(
      {.method = "GET", .path = "/big", .handler = [](const HttpRequest&) {
         return HttpResponse{.body = std::string(16 << 20, 'b')};
       }});
  RunningGateway gateway(options, std::move(routes));
  std::vector<std::unique_ptr<RawConnection>> readers;
  for (int i = 0; i < 6; ++i) {
    readers.push_back(std::make_unique<RawConnection>(gateway.address()));
    readers.back()->Send("GET /big HTTP/1.1\r\nHost: localhost\r\n\r\n");
  }
  int refused = 0;
  for (const auto& reader : readers) {
    if (absl::StartsWith(reader->ReadSome(absl::Seconds(10)), "HTTP/1.1 503")) {
      ++refused;
    }
  }
  EXPECT_GE(refused, 3);
}

TEST(SlowClientsTest, ClientsThatLeaveLeaveNothingBehind) {
  RunningGateway gateway;
  gateway.fake().Hang(true);
  for (int i = 0; i < 40; ++i) {
    RawConnection connection(gateway.address());
    connection.Send("GET /api/v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n");
    const linger reset = {.l_onoff = 1, .l_linger = 0};
    setsockopt(connection.fd(), SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
  }
  gateway.fake().Hang(false);
  const absl::Duration until = Clock::Real().SteadyNow() + absl::Seconds(10);
  while (
      !absl::StrContains(gateway.Metrics(), "camherd_gateway_connections 0") &&
      Clock::Real().SteadyNow() < until) {
    Clock::Real().SleepFor(absl::Milliseconds(10));
  }
  EXPECT_THAT(gateway.Metrics(), HasSubstr("camherd_gateway_connections 0"));
}

}  // namespace
}  // namespace camherd::gateway
