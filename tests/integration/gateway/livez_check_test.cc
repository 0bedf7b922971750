// SPDX-License-Identifier: Apache-2.0
#include "gateway/livez_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "gateway/listen_socket.h"
#include "tests/integration/gateway/running_gateway.h"
#include "tests/support/status_matchers.h"
#include "tests/unit/gateway/test_certificate.h"

namespace camherd::gateway {
namespace {

using ::camherd::testing::IsOk;
using ::camherd::testing::StatusIs;
using ::testing::HasSubstr;

constexpr absl::Duration kTimeout = absl::Seconds(10);

std::string Port(const std::string& address) {
  return address.substr(address.rfind(':'));
}

TEST(LivezCheckTest, AsksTheServerAsItListens) {
  const RunningGateway gateway;
  EXPECT_THAT(CheckLivez(gateway.address(), /*tls=*/false, kTimeout), IsOk());
  for (const char* host : {"*", "0.0.0.0", "localhost"}) {
    EXPECT_THAT(CheckLivez(absl::StrCat(host, Port(gateway.address())),
                           /*tls=*/false, kTimeout),
                IsOk())
        << host;
  }
}

TEST(LivezCheckTest, AsksOverTlsWhateverTheCertificateIsFor) {
  const TestCertificate certificate;
  HttpServer::Options options = RunningGateway::DefaultOptions();
  options.front.tls = certificate.files();
  const RunningGateway gateway(options);
  EXPECT_THAT(CheckLivez(gateway.address(), /*tls=*/true, kTimeout), IsOk());
}

TEST(LivezCheckTest, AServerThatIsStuckDoesNotLive) {
  // Its connections are taken by the kernel, and by nobody else.
  const auto sockets = Listen({"127.0.0.1:0"});
  ASSERT_THAT(sockets, IsOk());
  EXPECT_THAT(CheckLivez(sockets->front().address(), /*tls=*/false,
                         absl::Milliseconds(200)),
              StatusIs(absl::StatusCode::kUnavailable,
                       HasSubstr(sockets->front().address())));
}

TEST(LivezCheckTest, TheCommandSaysWhoDoesNotAnswer) {
  std::string address;
  {
    const auto sockets = Listen({"127.0.0.1:0"});
    ASSERT_THAT(sockets, IsOk());
    address = sockets->front().address();
  }
  ::testing::internal::CaptureStderr();
  EXPECT_EQ(RunHealthCommand(address, /*tls=*/false), 1);
  EXPECT_EQ(::testing::internal::GetCapturedStderr(),
            absl::StrCat("no answer from ", address, "\n"));
}

}  // namespace
}  // namespace camherd::gateway
