// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <atomic>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "services/common/child_process.h"
#include "services/common/clock.h"
#include "tests/integration/gateway/running_gateway.h"
#include "tests/unit/gateway/test_certificate.h"

// What the library behind the guard falls for, tried on the guard, plain and
// through TLS: bombs, endless lines, slow and idle connections, smuggling,
// ranges, broken handshakes. Nothing may cost memory or other people's time.
namespace camherd::gateway {
namespace {

using ::testing::AnyOf;
using ::testing::HasSubstr;
using ::testing::Not;

#ifdef CAMHERD_SANITIZED
// Shadow memory and quarantine hide what the gateway itself takes.
constexpr int64_t kMaxPeakKiB = 1 << 20;
constexpr absl::Duration kMaxDelay = absl::Seconds(5);
#else
constexpr int64_t kMaxPeakKiB = 64 << 10;
constexpr absl::Duration kMaxDelay = absl::Seconds(1);
#endif

constexpr char kLivez[] = "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n";

// The real binary, with a read timeout of two seconds and no services.
class GatewayProcess {
 public:
  explicit GatewayProcess(bool with_tls) {
    std::vector<std::string> env = EnvironmentForChildren();
    env.insert(env.end(), {"CAMHERD_GATEWAY_LISTEN=127.0.0.1:0",
                           "CAMHERD_GATEWAY_METRICS_LISTEN=",
                           "CAMHERD_GATEWAY_READ_TIMEOUT_SECONDS=2",
                           "CAMHERD_GATEWAY_ACCESS_LOG=false"});
    if (with_tls) {
      const TlsServer::Options files = certificate_.files();
      env.push_back("CAMHERD_GATEWAY_TLS_CERTIFICATE=" + files.certificate);
      env.push_back("CAMHERD_GATEWAY_TLS_KEY=" + files.key);
    }
    process_ =
        ChildProcess::Spawn({.argv = {CAMHERD_GATEWAY}, .env = std::move(env)})
            .value();
    while (plain_.empty()) {
      pollfd waiting = {
          .fd = process_->output_fd(), .events = POLLIN, .revents = 0};
      if (poll(&waiting, 1, 20'000) <= 0) abort();
      const bool more = process_->ReadOutput([this](absl::string_view line) {
        const size_t at = line.find(" http=");
        if (at == absl::string_view::npos) return;
        plain_ =
            std::string(line.substr(at + 6, line.find(' ', at + 6) - at - 6));
      });
      if (!more) abort();
    }
    address_ = absl::StrCat(with_tls ? "https://" : "", plain_);
  }

  // With "https://" where it speaks TLS; as host and port only.
  const std::string& address() const { return address_; }
  const std::string& plain() const { return plain_; }

  // The most memory it has ever had.
  int64_t PeakKiB() const {
    std::ifstream file(absl::StrCat("/proc/", process_->pid(), "/status"));
    for (std::string line; std::getline(file, line);) {
      if (!absl::StartsWith(line, "VmHWM:")) continue;
      const std::vector<std::string> words =
          absl::StrSplit(line, absl::ByAnyChar(" \t"), absl::SkipEmpty());
      int64_t value = 0;
      if (absl::SimpleAtoi(words[1], &value)) return value;
    }
    return INT64_MAX;
  }

 private:
  const TestCertificate certificate_;
  std::unique_ptr<ChildProcess> process_;
  std::string plain_;
  std::string address_;
};

// An ordinary client, elsewhere, that asks all the while.
class Bystander {
 public:
  explicit Bystander(const std::string& address)
      : thread_([this, address] {
          while (!stop_) {
            const absl::Duration before = Clock::Real().SteadyNow();
            RawConnection connection(address, {.from = "127.0.0.99"});
            connection.Send(kLivez);
            const bool first = connection.ReadAnswer().code == 200;
            connection.Send(kLivez);
            if (first && connection.ReadAnswer().code == 200) {
              ++answered_;
            } else {
              ++failed_;
            }
            worst_ = std::max(worst_, Clock::Real().SteadyNow() - before);
            Clock::Real().SleepFor(absl::Milliseconds(5));
          }
        }) {}
  ~Bystander() {
    stop_ = true;
    if (thread_.joinable()) thread_.join();
  }

  // Fails the test unless every request was answered in time.
  void ExpectUntroubled() {
    while (answered_ + failed_ == 0) {
      Clock::Real().SleepFor(absl::Milliseconds(5));
    }
    stop_ = true;
    thread_.join();
    EXPECT_EQ(failed_, 0);
    EXPECT_LT(worst_, kMaxDelay);
  }

 private:
  std::atomic<bool> stop_ = false;
  std::atomic<int> answered_ = 0;
  std::atomic<int> failed_ = 0;
  absl::Duration worst_;  // The thread's, then the test's.
  std::thread thread_;
};

using Connections = std::vector<std::unique_ptr<RawConnection>>;

// The answer to bytes sent as they are.
RawAnswer Sent(const GatewayProcess& gateway, absl::string_view bytes) {
  RawConnection connection(gateway.address());
  connection.Send(bytes);
  return connection.ReadAnswer();
}

// Sends `piece` up to `times` until the gateway has had enough.
RawAnswer Flood(const GatewayProcess& gateway, absl::string_view start,
                absl::string_view piece, int times) {
  RawConnection connection(gateway.address());
  connection.Send(start);
  for (int i = 0; i < times; ++i) {
    if (!connection.Send(piece)) break;
  }
  return connection.ReadAnswer();
}

// All that comes back on one connection.
std::string AllSent(const GatewayProcess& gateway, absl::string_view bytes) {
  RawConnection connection(gateway.address());
  connection.Send(bytes);
  return connection.ReadAll();
}

Connections Open(const std::string& address, int count,
                 absl::string_view bytes) {
  Connections connections;
  for (int i = 0; i < count; ++i) {
    connections.push_back(std::make_unique<RawConnection>(address));
    connections.back()->Send(bytes);
  }
  return connections;
}

void ChunkedBomb(const GatewayProcess& gateway) {
  const RawAnswer answer =
      Flood(gateway,
            "POST /start HTTP/1.1\r\nHost: localhost\r\n"
            "Transfer-Encoding: chunked\r\n\r\n",
            absl::StrCat("10000\r\n", std::string(0x10000, 'a'), "\r\n"), 3200);
  // The answer, or a reset for going on after it.
  EXPECT_THAT(answer.code, AnyOf(501, 0));
}

void BadChunkSizes(const GatewayProcess& gateway) {
  for (const char* size : {"-2", "0x10", "ffffffffffffffff", "1 ", "+1", ""}) {
    EXPECT_EQ(
        Sent(gateway, absl::StrCat("POST /start HTTP/1.1\r\nHost: localhost\r\n"
                                   "Transfer-Encoding: chunked\r\n\r\n",
                                   size, "\r\nabc"))
            .code,
        501)
        << size;
  }
}

void CompressedBomb(const GatewayProcess& gateway) {
  for (const char* coding : {"gzip", "deflate", "br", "gzip, identity"}) {
    EXPECT_EQ(
        Sent(gateway, absl::StrCat("POST /start HTTP/1.1\r\nHost: localhost\r\n"
                                   "Content-Encoding: ",
                                   coding,
                                   "\r\nContent-Length: 4\r\n\r\n"
                                   "\x1f\x8b\x08\x01"))
            .code,
        415)
        << coding;
  }
}

void HalfAMillionHeaders(const GatewayProcess& gateway) {
  std::string many;
  for (int i = 0; i < 1000; ++i) absl::StrAppend(&many, "X-", i, ": b\r\n");
  EXPECT_THAT(
      Flood(gateway, "GET / HTTP/1.1\r\nHost: localhost\r\n", many, 500).code,
      AnyOf(431, 0));
  // The same after requests that were fine.
  EXPECT_THAT(
      Flood(gateway,
            absl::StrCat(kLivez, "GET / HTTP/1.1\r\nHost: localhost\r\n"), many,
            500)
          .code,
      AnyOf(200, 0));
}

void EndlessLines(const GatewayProcess& gateway) {
  const std::string mebibyte(1 << 20, 'a');
  for (const char* start :
       {"GET /", "GET / HTTP/1.1\r\nHost: ", "GET / HTTP/1.1\r\nX"}) {
    EXPECT_THAT(Flood(gateway, start, mebibyte, 200).code, AnyOf(431, 0))
        << start;
  }
}

void HugeBodies(const GatewayProcess& gateway) {
  for (const char* length : {"65537", "209715200", "4294967296",
                             "18446744073709551616", "99999999999999999999"}) {
    EXPECT_EQ(
        Sent(gateway, absl::StrCat("POST /start HTTP/1.1\r\nHost: localhost\r\n"
                                   "Content-Length: ",
                                   length, "\r\n\r\n"))
            .code,
        413)
        << length;
  }
  // Also for a client that sends it all before it listens.
  EXPECT_EQ(
      Ask(gateway.address(), "POST", "/start", std::string(200'000, 'a')).code,
      413);
  EXPECT_THAT(Flood(gateway,
                    "POST /start HTTP/1.1\r\nHost: localhost\r\n"
                    "Content-Length: 209715200\r\n\r\n",
                    std::string(1 << 20, 'a'), 200)
                  .code,
              AnyOf(413, 0));
}

void LargeBodiesThatNeverEnd(const GatewayProcess& gateway) {
  // Each is allowed; all together are not.
  int refused = 0;
  Connections held;
  for (int i = 0; i < 12; ++i) {
    held.push_back(std::make_unique<RawConnection>(gateway.address()));
    held.back()->Send(
        "POST /api/v1/detect HTTP/1.1\r\nHost: localhost\r\n"
        "Content-Length: 16777216\r\n\r\n");
    if (!held.back()->Send(std::string(8 << 20, 'a')) ||
        held.back()->ReadSome(absl::Milliseconds(20)) != "") {
      ++refused;
    }
  }
  EXPECT_GE(refused, 6);
}

void DoubtfulRequests(const GatewayProcess& gateway) {
  // A second request that one reader could see and another not.
  const std::string second =
      "GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n";
  const std::string length =
      absl::StrCat("Content-Length: ", second.size(), "\r\n");
  for (const std::string& rest : {
           absl::StrCat("GET /livez HTTP/1.1\r\n", length, "\r\n"),
           absl::StrCat("DELETE /api/v1/streams/a HTTP/1.1\r\n", length,
                        "\r\n"),
           absl::StrCat("POST /start HTTP/1.1\r\nContent-Length: 4\r\n"
                        "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
           absl::StrCat("POST /start HTTP/1.1\r\nTransfer-Encoding: chunked"
                        "\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"),
           absl::StrCat("POST /start HTTP/1.1\r\nTransfer-Encoding: xchunked"
                        "\r\n\r\n0\r\n\r\n"),
           absl::StrCat("POST /start HTTP/1.1\r\nTransfer-Encoding : chunked"
                        "\r\n\r\n0\r\n\r\n"),
           absl::StrCat("POST /start HTTP/1.1\r\nContent-Length: 0\r\n", length,
                        "\r\n"),
           absl::StrCat("POST /start HTTP/1.1\r\nContent-Length: 0, 5\r\n\r\n"),
           absl::StrCat("POST /start HTTP/1.1\r\nContent-Length: +5\r\n\r\n"),
           absl::StrCat("POST /start HTTP/1.1\r\nContent-Length: abc\r\n\r\n"),
           absl::StrCat("POST /start HTTP/1.1\r\nContent-Length: 5\r\n"
                        " folded: b\r\n\r\n"),
           absl::StrCat("GET /livez HTTP/1.1\r\nX: a\nContent-Length: 5\r\n"
                        "\r\n"),
           absl::StrCat("POST /livez HTTP/1.1\r\n", length, "\r\n"),
           absl::StrCat("POST /nothing HTTP/1.1\r\n", length, "\r\n"),
       }) {
    const size_t line = rest.find("\r\n") + 2;
    const std::string first = absl::StrCat(
        rest.substr(0, line), "Host: localhost\r\n", rest.substr(line));
    // Behind a good one, whose answer comes all the same.
    const std::string bytes =
        AllSent(gateway, absl::StrCat(kLivez, first, second));
    const std::vector<std::string> answers =
        absl::StrSplit(bytes, "HTTP/1.1 ", absl::SkipEmpty());
    ASSERT_EQ(answers.size(), 2u) << first << bytes;
    EXPECT_THAT(answers[0], ::testing::StartsWith("200"));
    EXPECT_THAT(answers[1], Not(::testing::StartsWith("2"))) << first;
    EXPECT_THAT(answers[1], HasSubstr("Connection: close")) << first;
    EXPECT_THAT(bytes, Not(HasSubstr("smuggled"))) << first;
  }
}

void HalfARequestAhead(const GatewayProcess& gateway) {
  RawConnection connection(gateway.address());
  connection.Send(absl::StrCat(kLivez, "GET /li"));
  EXPECT_EQ(connection.ReadAnswer().code, 200);
  connection.Send(
      "vez HTTP/1.1\r\nHost: localhost\r\n\r\n"
      "POST /start HTTP/1.1\r\nHost: localhost\r\nContent-Length: "
      "9\r\n\r\nabc");
  EXPECT_EQ(connection.ReadAnswer().code, 200);
  // The rest never comes.
  EXPECT_EQ(connection.ReadAnswer().code, 408);
  EXPECT_TRUE(connection.ClosedWithin(absl::Seconds(10)));
}

void TenThousandRequestsAhead(const GatewayProcess& gateway) {
  RawConnection connection(gateway.address());
  std::string many;
  for (int i = 0; i < 250; ++i) many += kLivez;
  std::string bytes;
  for (int i = 0; i < 40 && connection.Send(many); ++i) {
    bytes += connection.ReadSome(absl::Milliseconds(5));
  }
  bytes += connection.ReadAll();
  const std::vector<std::string> answers =
      absl::StrSplit(bytes, "HTTP/1.1 200", absl::SkipEmpty());
  EXPECT_EQ(answers.size(), 1000u);
  EXPECT_THAT(answers.back(), HasSubstr("Connection: close"));
  // Nobody reads these answers.
  const Connections deaf = Open(gateway.address(), 64, many);
}

void AConnectionAfterAnError(const GatewayProcess& gateway) {
  RawConnection connection(gateway.address());
  const std::string host = "Host: localhost\r\n";
  for (int i = 0; i < 3; ++i) {
    connection.Send(absl::StrCat("GET /nothing HTTP/1.1\r\n", host, "\r\n",
                                 "DELETE /start HTTP/1.1\r\n", host, "\r\n",
                                 "GET /api/v1/streams?page_size=x HTTP/1.1\r\n",
                                 host, "\r\n", kLivez));
    EXPECT_EQ(connection.ReadAnswer().code, 404);
    EXPECT_EQ(connection.ReadAnswer().code, 405);
    EXPECT_EQ(connection.ReadAnswer().code, 400);
    EXPECT_EQ(connection.ReadAnswer().body, "ok\n");
  }
  connection.Send(absl::StrCat("GET /%00 HTTP/1.1\r\n", host, "\r\n", kLivez));
  EXPECT_EQ(connection.ReadAnswer().code, 400);
  EXPECT_EQ(connection.ReadAll(), "");
}

void SlowHeads(const GatewayProcess& gateway) {
  const Connections slow = Open(
      gateway.address(), 64, "GET / HTTP/1.1\r\nHost: localhost\r\nX-Drip: ");
  for (int round = 0; round < 10; ++round) {
    for (const auto& connection : slow) connection->Send("x");
    Clock::Real().SleepFor(absl::Milliseconds(30));
  }
}

void SlowBodies(const GatewayProcess& gateway) {
  const Connections slow = Open(
      gateway.address(), 64,
      "POST /start HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999\r\n\r\n");
  for (int round = 0; round < 10; ++round) {
    for (const auto& connection : slow) connection->Send("x");
    Clock::Real().SleepFor(absl::Milliseconds(30));
  }
}

void AThousandIdleConnections(const GatewayProcess& gateway) {
  Connections idle;
  for (int i = 0; i < 1000; ++i) {
    idle.push_back(std::make_unique<RawConnection>(
        gateway.plain(),
        RawConnection::Options{.from = absl::StrCat("127.0.0.", 2 + i % 8)}));
  }
  EXPECT_TRUE(idle.front()->ClosedWithin(absl::Seconds(10)));
}

void PathsOutOfTheTree(const GatewayProcess& gateway) {
  struct Case {
    const char* path;
    int code;
  };
  for (const Case& c : {
           Case{"/static/app.js%00.css", 400},
           Case{"/%00", 400},
           Case{"/static/..%2f..%2fetc%2fpasswd", 400},
           Case{"/static/../../etc/passwd", 404},
           Case{"/static/%2e%2e/%2e%2e/etc/passwd", 404},
           Case{"//etc/passwd", 404},
           Case{"/static/....//etc/passwd", 404},
           Case{"/static/%252e%252e%252fetc", 404},
           Case{"/static/..%5c..%5cetc", 404},
           Case{"/static/%c0%ae%c0%ae/etc", 400},
           Case{"/api/v1/streams/%0d%0aSet-Cookie:%20a=b", 400},
           Case{"/api/v1/records/..%2f..%2fcapture.db", 400},
           Case{"http://localhost/livez", 400},
       }) {
    const RawAnswer answer = Ask(gateway.address(), "GET", c.path);
    EXPECT_EQ(answer.code, c.code) << c.path;
    EXPECT_THAT(answer.body, Not(HasSubstr("root:"))) << c.path;
  }
}

void TwoThousandRanges(const GatewayProcess& gateway) {
  std::string ranges = "Range: bytes=0-0";
  for (int i = 0; i < 2000; ++i) absl::StrAppend(&ranges, ",0-0");
  const RawAnswer all = Ask(gateway.address(), "GET", "/static/api.js");
  const RawAnswer answer =
      Ask(gateway.address(), "GET", "/static/api.js", "", {ranges});
  EXPECT_EQ(answer.code, 200);
  EXPECT_EQ(answer.body, all.body);
}

void HeaderInjection(const GatewayProcess& gateway) {
  const RawAnswer answer =
      Ask(gateway.address(), "GET", "/livez?a=%0d%0aSet-Cookie:%20b", "",
          {"X-Thing: a%0d%0aSet-Cookie: b",
           "If-None-Match: \"a%0d%0aSet-Cookie: b\""});
  EXPECT_EQ(answer.code, 200);
  EXPECT_THAT(answer.head, Not(HasSubstr("Set-Cookie")));
  for (const char* header :
       {"X-A: b\rSet-Cookie: c", "X-A: b\nSet-Cookie: c", "REMOTE_ADDR: ::1",
        "Host: localhost\r\nHost: evil", "X A: b", "X-A : b", ": b"}) {
    EXPECT_EQ(Ask(gateway.address(), "GET", "/livez", "", {header}).code, 400)
        << header;
  }
}

void WhatIsNoHttp(const GatewayProcess& gateway) {
  for (const char* bytes :
       {"\x16\x03\x01\x02", "hello\n", "PRI * HTTP/2.0\r\n\r\n", "\r\n\r\n",
        "SSH-2.0-x\r\n\r\n"}) {
    EXPECT_THAT(Sent(gateway, bytes).code, AnyOf(400, 501, 505)) << bytes;
  }
}

void BrokenHandshakes(const GatewayProcess& gateway) {
  // Where there is no TLS these are no HTTP either.
  const Connections begun = Open(
      gateway.plain(), 64, absl::string_view("\x16\x03\x01\x02\x00\x01", 6));
  // The greatest hello that OpenSSL allows, announced and never sent in full;
  // and the greatest that we do.
  const std::string hello = absl::StrCat(
      absl::string_view("\x16\x03\x01\x40\x00\x01\x02\x00\x00\x03\x03", 11),
      std::string(16'000, 'a'));
  const Connections huge = Open(gateway.plain(), 30, hello);
  const Connections large = Open(
      gateway.plain(), 30,
      absl::StrCat(absl::string_view("\x16\x03\x01\x40\x00\x01\x00\x40\x00", 9),
                   std::string(16'000, 'a')));
  for (const std::string& garbage :
       {std::string(1000, '\x16'), std::string("\x16\x03\x01\xff\xff", 5),
        std::string("\x15\x03\x01\x00\x02\x02\x00", 7),
        std::string("\x80\x2e\x01\x00\x02", 5)}) {
    RawConnection connection(gateway.plain());
    connection.Send(garbage);
    connection.ShutdownWrite();
    (void)connection.ReadAll();
  }
  // Bytes past the cipher of a session that was fine.
  RawConnection session(gateway.address());
  session.Send(kLivez);
  EXPECT_EQ(session.ReadAnswer().code, 200);
  (void)send(session.fd(), hello.data(), hello.size(), MSG_NOSIGNAL);
  (void)session.ReadAll();
}

struct Attack {
  const char* name;
  void (*run)(const GatewayProcess&);
};

constexpr Attack kAttacks[] = {
    {"ChunkedBomb", ChunkedBomb},
    {"BadChunkSizes", BadChunkSizes},
    {"CompressedBomb", CompressedBomb},
    {"HalfAMillionHeaders", HalfAMillionHeaders},
    {"EndlessLines", EndlessLines},
    {"HugeBodies", HugeBodies},
    {"LargeBodiesThatNeverEnd", LargeBodiesThatNeverEnd},
    {"DoubtfulRequests", DoubtfulRequests},
    {"HalfARequestAhead", HalfARequestAhead},
    {"TenThousandRequestsAhead", TenThousandRequestsAhead},
    {"AConnectionAfterAnError", AConnectionAfterAnError},
    {"SlowHeads", SlowHeads},
    {"SlowBodies", SlowBodies},
    {"AThousandIdleConnections", AThousandIdleConnections},
    {"PathsOutOfTheTree", PathsOutOfTheTree},
    {"TwoThousandRanges", TwoThousandRanges},
    {"HeaderInjection", HeaderInjection},
    {"WhatIsNoHttp", WhatIsNoHttp},
    {"BrokenHandshakes", BrokenHandshakes},
};

class HostileClientsTest
    : public ::testing::TestWithParam<std::tuple<Attack, bool>> {};

TEST_P(HostileClientsTest, CostNeitherMemoryNorOthersTime) {
  const auto& [attack, with_tls] = GetParam();
  const GatewayProcess gateway(with_tls);
  // So that code which is loaded on first use counts before.
  EXPECT_EQ(Ask(gateway.address(), "GET", "/").code, 200);
  Bystander bystander(gateway.address());
  attack.run(gateway);
  bystander.ExpectUntroubled();
  EXPECT_LT(gateway.PeakKiB(), kMaxPeakKiB);
  EXPECT_EQ(Ask(gateway.address(), "GET", "/livez").code, 200);
  RecordProperty("peak_kib", absl::StrCat(gateway.PeakKiB()));
}

INSTANTIATE_TEST_SUITE_P(EveryAttack, HostileClientsTest,
                         ::testing::Combine(::testing::ValuesIn(kAttacks),
                                            ::testing::Bool()),
                         [](const auto& info) {
                           return absl::StrCat(
                               std::get<0>(info.param).name,
                               std::get<1>(info.param) ? "_Tls" : "_Plain");
                         });

TEST(OrdinaryClientsTest, ABodyOf64KiBIsTaken) {
  RunningGateway gateway;
  const RawAnswer answer =
      Ask(gateway.address(), "POST", "/start", std::string(65536, 'a'),
          {"Content-Type: application/x-www-form-urlencoded"});
  EXPECT_EQ(answer.code, 400);
  EXPECT_THAT(answer.body, HasSubstr("unknown field"));
}

TEST(SlowClientsTest, MoreConnectionsThanOneAddressMayHaveEvictTheOldest) {
  RunningGateway gateway;
  const Connections idle = Open(gateway.address(), 200, "");
  EXPECT_EQ(Ask(gateway.address(), "GET", "/livez").code, 200);
  EXPECT_TRUE(idle.front()->ClosedWithin(absl::Seconds(5)));
  EXPECT_THAT(gateway.Metrics(),
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
  routes.push_back({.method = "GET",
                    .path = "/big",
                    .access = Access::Open(),
                    .handler = [](const HttpRequest&) {
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
  routes.push_back({.method = "GET",
                    .path = "/big",
                    .access = Access::Open(),
                    .handler = [](const HttpRequest&) {
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
  // Taken after all of them: none can come once the number is 0.
  EXPECT_EQ(Ask(gateway.address(), "GET", "/livez").code, 200);
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
