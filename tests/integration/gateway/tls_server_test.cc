// SPDX-License-Identifier: Apache-2.0
#include "gateway/tls_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "services/common/clock.h"
#include "tests/integration/gateway/running_gateway.h"
#include "tests/support/status_matchers.h"
#include "tests/unit/gateway/test_certificate.h"

namespace camherd::gateway {
namespace {

using ::camherd::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr char kLivez[] = "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n";

bool WaitFor(const std::function<bool()>& condition) {
  const absl::Duration until = Clock::Real().SteadyNow() + absl::Seconds(20);
  while (!condition()) {
    if (Clock::Real().SteadyNow() > until) return false;
    Clock::Real().SleepFor(absl::Milliseconds(10));
  }
  return true;
}

class TlsServerTest : public ::testing::Test {
 protected:
  explicit TlsServerTest(absl::Duration read_timeout = absl::Seconds(5))
      : gateway_(OptionsWith(certificate_, read_timeout)) {}

  static HttpServer::Options OptionsWith(const TestCertificate& certificate,
                                         absl::Duration read_timeout) {
    HttpServer::Options options = RunningGateway::DefaultOptions();
    options.front.tls = certificate.files();
    options.front.read_timeout = read_timeout;
    return options;
  }

  std::string https() const { return absl::StrCat("https://", plain()); }
  const std::string& plain() const { return gateway_.address(); }

  // The name in the certificate that a new connection is shown.
  std::string ShownName() const {
    RawConnection connection(https());
    if (connection.ssl() == nullptr) return "";
    X509* certificate = SSL_get1_peer_certificate(connection.ssl());
    char name[64] = "";
    X509_NAME_get_text_by_NID(X509_get_subject_name(certificate),
                              NID_commonName, name, sizeof name);
    X509_free(certificate);
    return name;
  }

  TestCertificate certificate_;
  RunningGateway gateway_;
};

TEST_F(TlsServerTest, SpeaksTls12AndTls13AndNothingOlder) {
  struct Case {
    int version;
    int code;
  };
  for (const Case& c : {Case{TLS1_VERSION, 0}, Case{TLS1_1_VERSION, 0},
                        Case{TLS1_2_VERSION, 200}, Case{TLS1_3_VERSION, 200}}) {
    RawConnection connection(https(), {.tls_version = c.version});
    connection.Send(kLivez);
    EXPECT_EQ(connection.ReadAnswer().code, c.code) << c.version;
    if (c.code == 200) {
      EXPECT_EQ(SSL_version(connection.ssl()), c.version);
    }
  }
  EXPECT_THAT(gateway_.Metrics(), HasSubstr("reason=\"tls_handshake\"} 2"));
}

TEST_F(TlsServerTest, CarriesRequestsAheadLargeBodiesAndLargeAnswers) {
  RawConnection connection(https());
  const std::string body = absl::StrCat("a=", std::string(65534, 'b'));
  std::string all;
  for (int i = 0; i < 10; ++i) {
    absl::StrAppend(
        &all, kLivez, "POST /start HTTP/1.1\r\nHost: localhost\r\n",
        "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: ",
        body.size(), "\r\n\r\n", body, kLivez);
  }
  connection.Send(all);
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(connection.ReadAnswer().body, "ok\n");
    EXPECT_THAT(connection.ReadAnswer().body, HasSubstr("unknown field"));
    EXPECT_EQ(connection.ReadAnswer().body, "ok\n");
  }
  gateway_.fake().answers.stop.set_grid_jpeg(std::string(3'000'000, 'j'));
  EXPECT_GT(Ask(https(), "POST", "/stop", "process_name=demo",
                {"Content-Type: application/x-www-form-urlencoded"})
                .body.size(),
            4'000'000u);
}

TEST_F(TlsServerTest, CarriesWhatIsSentAsItIsMade) {
  gateway_.fake().answers.export_pieces = {std::string(60000, 'x'), "\n"};
  RawConnection connection(https());
  for (int i = 0; i < 2; ++i) {
    connection.Send(
        "GET /api/v1/records/export HTTP/1.1\r\nHost: localhost\r\n\r\n");
    EXPECT_THAT(connection.ReadAnswer().body,
                HasSubstr(std::string(60000, 'x')));
  }
  // A reader that leaves ends the service's work.
  gateway_.fake().answers.export_endless = true;
  auto leaver = std::make_unique<RawConnection>(https());
  leaver->Send(
      "GET /api/v1/records/export HTTP/1.1\r\nHost: localhost\r\n\r\n");
  EXPECT_NE(leaver->ReadSome(absl::Seconds(20)), "");
  leaver = nullptr;
  EXPECT_TRUE(
      WaitFor([&] { return gateway_.fake().exports_cancelled() == 1; }));
}

TEST_F(TlsServerTest, SaysTheEndOfAnAnswerInTls) {
  RawConnection connection(https());
  connection.Send("GET /livez HTTP/1.0\r\n\r\n");
  EXPECT_THAT(connection.ReadAll(), HasSubstr("ok\n"));
  EXPECT_NE(SSL_get_shutdown(connection.ssl()) & SSL_RECEIVED_SHUTDOWN, 0);
}

TEST_F(TlsServerTest, TellsAPlainClientToSpeakHttps) {
  const RawAnswer answer = Ask(plain(), "GET", "/livez");
  EXPECT_EQ(answer.code, 400);
  EXPECT_THAT(answer.body, HasSubstr("HTTPS"));
  EXPECT_THAT(gateway_.Metrics(), HasSubstr("reason=\"not_tls\"} 1"));
}

TEST_F(TlsServerTest, APageOfPlainHttpIsAnotherSites) {
  for (const char* scheme : {"http", "https"}) {
    EXPECT_EQ(Ask(https(), "POST", "/start", "rtsp_url=rtsp://h/a",
                  {absl::StrCat("Origin: ", scheme, "://", plain()),
                   "Content-Type: application/x-www-form-urlencoded"})
                  .code,
              absl::string_view(scheme) == "https" ? 200 : 403)
        << scheme;
  }
}

TEST_F(TlsServerTest, TakesANewCertificateWithoutARestart) {
  EXPECT_EQ(ShownName(), "first");
  RawConnection before(https());
  certificate_.Make("second");
  EXPECT_TRUE(WaitFor([&] { return ShownName() == "second"; }));
  // Connections that were there go on.
  before.Send(kLivez);
  EXPECT_EQ(before.ReadAnswer().code, 200);
  EXPECT_THAT(
      gateway_.Metrics(),
      AllOf(
          HasSubstr("camherd_gateway_certificate_reads_total{result=\"ok\"} 2"),
          HasSubstr("camherd_gateway_certificate_expiry_timestamp_seconds")));
}

TEST_F(TlsServerTest, KeepsTheCertificateInUseWhereTheNewOneIsBad) {
  certificate_.Overwrite("cert.pem", "no certificate");
  EXPECT_TRUE(WaitFor([&] {
    return absl::StrContains(
        gateway_.Metrics(),
        "camherd_gateway_certificate_reads_total{result=\"failed\"} 1");
  }));
  EXPECT_EQ(ShownName(), "first");
  // Reading it would never end.
  certificate_.ReplaceByPipe("key.pem");
  EXPECT_TRUE(WaitFor([&] {
    return absl::StrContains(
        gateway_.Metrics(),
        "camherd_gateway_certificate_reads_total{result=\"failed\"} 2");
  }));
  EXPECT_EQ(ShownName(), "first");
  certificate_.Make("second");
  EXPECT_TRUE(WaitFor([&] { return ShownName() == "second"; }));
}

TEST_F(TlsServerTest, DoesNotNegotiateAnew) {
  RawConnection connection(https(), {.tls_version = TLS1_2_VERSION});
  ASSERT_NE(connection.ssl(), nullptr);
  for (int i = 0; i < 100; ++i) {
    SSL_renegotiate(connection.ssl());
    if (SSL_do_handshake(connection.ssl()) != 1) break;
    ASSERT_LT(i, 99) << "it was taken";
  }
  EXPECT_EQ(Ask(https(), "GET", "/livez").code, 200);
}

TEST_F(TlsServerTest, KeyUpdatesWithoutEndDelayNobody) {
  RawConnection connection(https(), {.tls_version = TLS1_3_VERSION});
  ASSERT_NE(connection.ssl(), nullptr);
  for (int i = 0; i < 2000; ++i) {
    SSL_key_update(connection.ssl(), SSL_KEY_UPDATE_NOT_REQUESTED);
    if (SSL_do_handshake(connection.ssl()) != 1) break;
  }
  const absl::Duration before = Clock::Real().SteadyNow();
  EXPECT_EQ(Ask(https(), "GET", "/livez").code, 200);
  EXPECT_LT(Clock::Real().SteadyNow() - before, absl::Seconds(1));
}

class ImpatientTlsServerTest : public TlsServerTest {
 protected:
  ImpatientTlsServerTest() : TlsServerTest(absl::Milliseconds(300)) {}
};

TEST_F(ImpatientTlsServerTest, AHandshakeThatDoesNotEndIsGivenUp) {
  RawConnection silent(plain());
  RawConnection begun(plain());
  begun.Send(absl::string_view("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03", 10));
  EXPECT_TRUE(silent.ClosedWithin(absl::Seconds(10)));
  EXPECT_TRUE(begun.ClosedWithin(absl::Seconds(10)));
  EXPECT_THAT(gateway_.Metrics(),
              AllOf(HasSubstr("reason=\"tls_handshake\"} 1"),
                    HasSubstr("reason=\"idle\"} 1")));
}

TEST(TlsOpeningTest, TellsAHelloFromWhatIsNone) {
  using Opening = TlsServer::Opening;
  struct Case {
    absl::string_view first;
    Opening opening;
  };
  for (const Case& c :
       {Case{{"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", 9}, Opening::kHello},
        Case{{"\x16\x03\x01\x40\x00\x01\x00\x40\x00", 9}, Opening::kHello},
        Case{{"\x16\x03\x01\x40\x00\x01\x00\x40\x01", 9}, Opening::kNoHello},
        Case{{"\x16\x03\x01\x40\x00\x01\x02\x00\x00", 9}, Opening::kNoHello},
        // Split over records, one byte in the first.
        Case{{"\x16\x03\x01\x00\x01\x01\x16\x03\x01", 9}, Opening::kNoHello},
        Case{{"\x16\x03\x01\x02\x00\x0b\x00\x01\xfc", 9}, Opening::kNoHello},
        Case{{"\x16\x03", 2}, Opening::kNoHello}, Case{"", Opening::kNoTls},
        Case{"GET / HTT", Opening::kNoTls},
        Case{{"\x80\x2e\x01\x00\x02\x00\x15\x00\x00", 9}, Opening::kNoTls}}) {
    EXPECT_EQ(TlsServer::OpeningOf(c.first), c.opening) << c.first;
  }
}

TEST(TlsServerStartTest, RefusesFilesThatDoNotServe) {
  const TestCertificate certificate;
  const TestCertificate other;
  CAMHERD_EXPECT_OK(TlsServer::Create(certificate.files()).status());
  EXPECT_THAT(TlsServer::Create({.certificate = certificate.files().certificate,
                                 .key = other.files().key})
                  .status(),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr(other.files().key)));
  EXPECT_THAT(
      TlsServer::Create(
          {.certificate = "/none.pem", .key = certificate.files().key})
          .status(),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("/none.pem")));
  // Without asking at the terminal.
  certificate.Lock();
  EXPECT_THAT(TlsServer::Create(certificate.files()).status(),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr(certificate.files().key)));
}

}  // namespace
}  // namespace camherd::gateway
