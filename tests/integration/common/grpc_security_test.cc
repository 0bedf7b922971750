// SPDX-License-Identifier: Apache-2.0
#include "services/common/grpc_security.h"

#include <gmock/gmock.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/support/byte_buffer.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/synchronization/notification.h"
#include "services/common/clock.h"
#include "services/common/file.h"
#include "services/common/grpc_client.h"
#include "services/common/grpc_health_check.h"
#include "services/common/grpc_server.h"
#include "services/common/grpc_status.h"
#include "services/common/yaml_config.h"
#include "tests/integration/common/fake_aggregator.h"
#include "tests/integration/common/generic_call.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

// Who gets in, over real connections.
namespace camherd {
namespace {

using ::camherd::testing::FakeAggregator;
using ::camherd::testing::GenericCall;
using ::camherd::testing::StatusIs;
using ::camherd::testing::TempDir;
using ::testing::AnyOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kService[] = "camherd.v1.AggregatorService";
constexpr char kToken[] = "0123456789abcdef-first";
constexpr char kNextToken[] = "0123456789abcdef-next";

class GrpcSecurityTest : public ::testing::Test {
 protected:
  void Start(const GrpcSecurity& security) {
    auto server =
        GrpcServer::Start({.listen = "127.0.0.1:0", .security = security},
                          {&service_}, {kService});
    CAMHERD_ASSERT_OK(server);
    server_ = *std::move(server);
    server_->SetServing(true);
  }

  absl::Status CallWith(const GrpcSecurity& security,
                        absl::Duration timeout = absl::Seconds(10)) {
    const auto stub = v1::AggregatorService::NewStub(
        MakeChannel(server_->address(), security));
    grpc::ClientContext context;
    SetDeadline(context, timeout);
    v1::Record record;
    return FromGrpcStatus(stub->GetRecord(&context, {}, &record), &context);
  }

  // Two authorities, a and b, each with a certificate for 127.0.0.1.
  bool MakeCertificates() {
    const std::string command = absl::StrCat(
        "cd '", dir_.path(),
        "' && { K='-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes'; "
        "for n in a b; do openssl req -x509 $K -keyout ca-$n.key -out "
        "ca-$n.pem -days 30 -subj /CN=ca-$n && "
        "openssl req $K -keyout $n.key -out $n.csr -subj /CN=$n && "
        "echo subjectAltName=IP:127.0.0.1 > $n.ext && "
        "openssl x509 -req -in $n.csr -CA ca-$n.pem -CAkey ca-$n.key "
        "-CAcreateserial -days 30 -extfile $n.ext -out $n.pem; done; } "
        ">openssl.log 2>&1");
    return std::system(command.c_str()) == 0;
  }
  // Shows certificate `own`, trusts authority `ca`.
  GrpcSecurity Tls(const std::string& own, const std::string& ca) {
    return {.certificate_file = dir_ / (own + ".pem"),
            .key_file = dir_ / (own + ".key"),
            .ca_file = dir_ / ("ca-" + ca + ".pem"),
            .reload_seconds = 1};
  }

  TempDir dir_;
  FakeAggregator service_;
  std::unique_ptr<GrpcServer> server_;
};

TEST_F(GrpcSecurityTest, TheTokenOpensTheDoorAndNothingElseDoes) {
  Start({.tokens = {kToken, kNextToken}});
  CAMHERD_EXPECT_OK(CallWith({.tokens = {kToken}}));
  CAMHERD_EXPECT_OK(CallWith({.tokens = {kNextToken, "never-sent-token"}}));
  EXPECT_EQ(service_.calls(), 2);
  for (const GrpcSecurity& security :
       {GrpcSecurity{}, GrpcSecurity{.tokens = {"0123456789abcdef-wrong"}},
        GrpcSecurity{.tokens = {absl::StrCat(kToken, "x")}},
        GrpcSecurity{.tokens = {"*"}}}) {
    EXPECT_THAT(CallWith(security),
                StatusIs(absl::StatusCode::kUnauthenticated));
  }
  EXPECT_EQ(service_.calls(), 2);
}

TEST_F(GrpcSecurityTest, TheServersOwnHealthCheckNeedsNoNameInTheCertificate) {
  ASSERT_TRUE(MakeCertificates());
  Start(Tls("a", "a"));
  // The certificate is for 127.0.0.1, which this is by another name.
  std::string address = server_->address();
  address.replace(0, address.rfind(':'), "[::ffff:127.0.0.1]");
  EXPECT_TRUE(GrpcHealthCheck(address, Tls("a", "a"))
                  .IsServing(absl::Seconds(10))
                  .value_or(false));
}

TEST_F(GrpcSecurityTest, HealthIsToldWithoutATokenAndReflectionIsNot) {
  Start({.tokens = {kToken}});
  std::string response;
  EXPECT_TRUE(GenericCall(MakeChannel(server_->address()),
                          "/grpc.health.v1.Health/Check", "", &response)
                  .ok());
  EXPECT_EQ(response, "\x08\x01");
  const std::string list("\x3a\x00", 2);
  const std::string reflection =
      "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo";
  EXPECT_EQ(
      GenericCall(MakeChannel(server_->address()), reflection, list, &response)
          .error_code(),
      grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_TRUE(GenericCall(MakeChannel(server_->address(), {.tokens = {kToken}}),
                          reflection, list, &response)
                  .ok());
  EXPECT_THAT(response, HasSubstr(kService));
}

TEST_F(GrpcSecurityTest, WhyAServerIsNotServingIsToldToWhoHasAToken) {
  Start({.tokens = {kToken, kNextToken}});
  server_->SetServing(false, "the disk of /data is low");
  const auto reason = [this](const GrpcSecurity& security) {
    grpc::GenericStub stub(MakeChannel(server_->address(), security));
    grpc::ClientContext context;
    SetDeadline(context, absl::Seconds(10));
    grpc::ByteBuffer request(nullptr, 0);
    grpc::ByteBuffer response;
    absl::Notification done;
    stub.UnaryCall(&context, "/grpc.health.v1.Health/Check",
                   grpc::StubOptions(), &request, &response,
                   [&done](const grpc::Status& status) {
                     EXPECT_TRUE(status.ok());
                     done.Notify();
                   });
    done.WaitForNotification();
    const auto& metadata = context.GetServerTrailingMetadata();
    const auto it = metadata.find(kNotServingReason);
    return it == metadata.end()
               ? std::string()
               : std::string(it->second.data(), it->second.size());
  };
  EXPECT_EQ(reason({.tokens = {kToken}}), "the disk of /data is low");
  EXPECT_EQ(reason({.tokens = {kNextToken}}), "the disk of /data is low");
  EXPECT_EQ(reason({}), "");
  EXPECT_EQ(reason({.tokens = {"0123456789abcdef-wrong"}}), "");
}

TEST_F(GrpcSecurityTest, BeyondLoopbackNeedsATokenOrTls) {
  for (const char* listen : {"0.0.0.0:0", "[::]:0", "192.0.2.1:0"}) {
    EXPECT_THAT(GrpcServer::Start({.listen = listen}, {&service_}, {kService}),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(listen)))
        << listen;
  }
  CAMHERD_EXPECT_OK(GrpcServer::Start(
      {.listen = "0.0.0.0:0", .security = {.tokens = {kToken}}}, {&service_},
      {kService}));
}

TEST_F(GrpcSecurityTest, OnlyCertificatesOfTheAuthorityGetIn) {
  if (!MakeCertificates()) GTEST_SKIP() << "no openssl";
  Start(Tls("a", "a"));
  CAMHERD_EXPECT_OK(CallWith(Tls("a", "a")));
  // Plain text; a certificate of another authority; a server of another one.
  for (const GrpcSecurity& security :
       {GrpcSecurity{}, Tls("b", "a"), Tls("a", "b"), Tls("b", "b")}) {
    EXPECT_THAT(CallWith(security, absl::Seconds(3)),
                AnyOf(StatusIs(absl::StatusCode::kUnavailable),
                      StatusIs(absl::StatusCode::kDeadlineExceeded)));
  }
  EXPECT_EQ(service_.calls(), 1);
}

TEST_F(GrpcSecurityTest, WithTlsTheTokenIsAskedForToo) {
  if (!MakeCertificates()) GTEST_SKIP() << "no openssl";
  GrpcSecurity both = Tls("a", "a");
  both.tokens = {kToken};
  Start(both);
  CAMHERD_EXPECT_OK(CallWith(both));
  EXPECT_THAT(CallWith(Tls("a", "a")),
              StatusIs(absl::StatusCode::kUnauthenticated));
}

TEST_F(GrpcSecurityTest, ARenewedCertificateIsTakenWithoutAStop) {
  if (!MakeCertificates()) GTEST_SKIP() << "no openssl";
  Start(Tls("a", "a"));
  CAMHERD_EXPECT_OK(CallWith(Tls("a", "a")));
  // All of authority b now, under the names of a.
  const std::string command =
      absl::StrCat("cd '", dir_.path(),
                   "' && cp b.pem c.pem && cp b.key c.key && cp ca-b.pem "
                   "ca-c.pem && mv c.key a.key && mv c.pem a.pem && mv "
                   "ca-c.pem ca-a.pem");
  ASSERT_EQ(std::system(command.c_str()), 0);
  const absl::Duration end = Clock::Real().SteadyNow() + absl::Seconds(20);
  absl::Status status = absl::UnknownError("not called");
  while (!status.ok() && Clock::Real().SteadyNow() < end) {
    status = CallWith(Tls("b", "b"), absl::Seconds(1));
  }
  CAMHERD_EXPECT_OK(status);
}

class LoadGrpcSecurityTest : public ::testing::Test {
 protected:
  absl::StatusOr<GrpcSecurity> Load(
      const YamlConfig::Environment& environment) {
    const auto config = YamlConfig::Load("", environment);
    if (!config.ok()) return config.status();
    ConfigSection section = config->Section("grpc");
    absl::StatusOr<GrpcSecurity> security = LoadGrpcSecurity(section);
    effective_ = absl::StrJoin(section.effective(), " ");
    return security;
  }
  std::string Write(const std::string& text, unsigned mode = 0600) {
    const std::string path = dir_ / "token";
    CAMHERD_EXPECT_OK(WriteFileAtomically(path, text, Sync::kNone, mode));
    return path;
  }

  TempDir dir_;
  std::string effective_;
};

TEST_F(LoadGrpcSecurityTest, IsOpenByDefault) {
  const auto security = Load({});
  CAMHERD_ASSERT_OK(security.status());
  EXPECT_FALSE(security->closed());
}

TEST_F(LoadGrpcSecurityTest, ReadsTheTokensOfAFile) {
  const auto security = Load(
      {{"CAMHERD_GRPC_TOKEN_FILE",
        Write(absl::StrCat("# now\n", kToken, "\n\n  ", kNextToken, "\n"))}});
  CAMHERD_ASSERT_OK(security.status());
  EXPECT_THAT(security->tokens, ElementsAre(kToken, kNextToken));
  EXPECT_TRUE(security->closed());
  EXPECT_THAT(effective_, Not(HasSubstr(kToken)));
}

TEST_F(LoadGrpcSecurityTest, RefusesWhatIsNoTokenAndDoesNotShowIt) {
  for (const char* text :
       {"", "# nothing\n", "hunter2", "hunter2-hunter2-hunter2\"",
        "hunter2-hunter2-*", "hunter2 hunter2 hunter2"}) {
    const absl::Status status =
        Load({{"CAMHERD_GRPC_TOKEN_FILE", Write(text)}}).status();
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kInvalidArgument,
                                 HasSubstr("grpc.token_file")))
        << text;
    EXPECT_THAT(std::string(status.message()), Not(HasSubstr("hunter2")));
  }
  EXPECT_THAT(
      Load({{"CAMHERD_GRPC_TOKEN_FILE", Write(kToken, 0644)}}).status(),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("chmod 600")));
  EXPECT_THAT(Load({{"CAMHERD_GRPC_TOKEN_FILE", dir_ / "nosuch"}}).status(),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(LoadGrpcSecurityTest, TlsTakesAllThreeFilesOrNone) {
  const std::string file = Write("x");
  EXPECT_THAT(Load({{"CAMHERD_GRPC_TLS_CERTIFICATE_FILE", file},
                    {"CAMHERD_GRPC_TLS_KEY_FILE", file}})
                  .status(),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("grpc.tls_ca_file")));
  EXPECT_THAT(Load({{"CAMHERD_GRPC_TLS_CERTIFICATE_FILE", file},
                    {"CAMHERD_GRPC_TLS_KEY_FILE", dir_ / "nosuch"},
                    {"CAMHERD_GRPC_TLS_CA_FILE", file}})
                  .status(),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("grpc.tls_key_file")));
}

}  // namespace
}  // namespace camherd
