// SPDX-License-Identifier: Apache-2.0
#include "services/common/grpc_health_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "services/common/grpc_server.h"
#include "tests/integration/common/fake_aggregator.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace camherd {
namespace {

using ::camherd::testing::FakeAggregator;
using ::camherd::testing::StatusIs;
using ::camherd::testing::TempDir;
using ::testing::HasSubstr;

constexpr absl::Duration kTimeout = absl::Seconds(10);

class GrpcHealthCheckTest : public ::testing::Test {
 protected:
  void Start(const std::string& listen, const GrpcSecurity& security = {}) {
    auto server =
        GrpcServer::Start({.listen = listen, .security = security}, {&service_},
                          {"camherd.v1.AggregatorService"});
    CAMHERD_ASSERT_OK(server);
    server_ = *std::move(server);
  }

  FakeAggregator service_;
  std::unique_ptr<GrpcServer> server_;
};

TEST_F(GrpcHealthCheckTest, TellsWhetherItServesAndWhyNot) {
  Start("127.0.0.1:0");
  const GrpcHealthCheck check(server_->address(), {});
  server_->SetServing(false, "the disk is low");
  std::string reason;
  EXPECT_FALSE(check.IsServing(kTimeout, &reason).value_or(true));
  EXPECT_EQ(reason, "the disk is low");
  server_->SetServing(true);
  EXPECT_TRUE(check.IsServing(kTimeout, &reason).value_or(false));
  EXPECT_EQ(reason, "");
}

TEST_F(GrpcHealthCheckTest, AsksByLoopbackWhoListensEverywhereAndNeedsNoToken) {
  Start("0.0.0.0:0", {.tokens = {"0123456789abcdef-first"}});
  server_->SetServing(true);
  EXPECT_TRUE(GrpcHealthCheck(server_->address(), {})
                  .IsServing(kTimeout)
                  .value_or(false));
}

TEST_F(GrpcHealthCheckTest, AsksAUnixSocket) {
  const TempDir dir;
  Start("unix:" + dir / "socket");
  server_->SetServing(true);
  EXPECT_TRUE(GrpcHealthCheck("unix:" + dir / "socket", {})
                  .IsServing(kTimeout)
                  .value_or(false));
}

TEST_F(GrpcHealthCheckTest, SaysThatNobodyAnswers) {
  Start("127.0.0.1:0");
  const std::string address = server_->address();
  server_->Stop(absl::ZeroDuration());
  server_.reset();
  EXPECT_THAT(GrpcHealthCheck(address, {}).IsServing(kTimeout),
              StatusIs(absl::StatusCode::kUnavailable,
                       HasSubstr("no answer from " + address)));
}

TEST_F(GrpcHealthCheckTest, TheCommandPrintsIt) {
  Start("127.0.0.1:0");
  server_->SetServing(false, "the disk is low");
  ::testing::internal::CaptureStderr();
  EXPECT_EQ(RunHealthCommand(server_->address(), {}), 1);
  EXPECT_EQ(::testing::internal::GetCapturedStderr(),
            "not ready: the disk is low\n");
  server_->SetServing(true);
  ::testing::internal::CaptureStdout();
  EXPECT_EQ(RunHealthCommand(server_->address(), {}), 0);
  EXPECT_EQ(::testing::internal::GetCapturedStdout(), "serving\n");
}

}  // namespace
}  // namespace camherd
