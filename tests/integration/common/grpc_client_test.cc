// SPDX-License-Identifier: Apache-2.0
#include "services/common/grpc_client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>
#include <string>

#include "services/common/clock.h"
#include "services/common/grpc_server.h"
#include "services/common/grpc_status.h"
#include "tests/integration/common/fake_aggregator.h"
#include "tests/support/status_matchers.h"

namespace camherd {
namespace {

using ::camherd::testing::FakeAggregator;
using ::camherd::testing::StatusIs;

constexpr char kService[] = "camherd.v1.AggregatorService";

absl::Status GetRecord(const std::shared_ptr<grpc::Channel>& channel,
                       absl::Duration timeout = absl::Seconds(10),
                       bool wait_for_ready = false) {
  grpc::ClientContext context;
  SetDeadline(context, timeout);
  context.set_wait_for_ready(wait_for_ready);
  camherd::v1::Record record;
  const grpc::Status status =
      camherd::v1::AggregatorService::NewStub(channel)->GetRecord(&context, {},
                                                                  &record);
  return FromGrpcStatus(status, &context);
}

TEST(SetDeadlineTest, IsTheTimeoutOrTheCallersRemainingTimeIfThatIsLess) {
  const absl::Time now = Clock::Real().Now();
  grpc::ClientContext plain;
  SetDeadline(plain, absl::Seconds(100));
  const absl::Time deadline = absl::FromChrono(plain.deadline());
  EXPECT_GE(deadline, now + absl::Seconds(99));
  EXPECT_LE(deadline, now + absl::Seconds(101));
  grpc::ClientContext shorter;
  SetDeadline(shorter, absl::Seconds(100), now + absl::Seconds(10));
  EXPECT_LE(absl::FromChrono(shorter.deadline()), now + absl::Seconds(11));
  grpc::ClientContext longer;
  SetDeadline(longer, absl::Seconds(1), now + absl::Hours(10));
  EXPECT_LE(absl::FromChrono(longer.deadline()), now + absl::Seconds(2));
}

TEST(GrpcClientTest, ACallToNobodyIsUnavailableAtOnce) {
  // Nobody listens: the port was free a moment ago.
  FakeAggregator service;
  auto server =
      GrpcServer::Start({.listen = "127.0.0.1:0"}, {&service}, {kService});
  CAMHERD_ASSERT_OK(server);
  const std::string address = (*server)->address();
  server->reset();
  EXPECT_THAT(GetRecord(MakeChannel(address)),
              StatusIs(absl::StatusCode::kUnavailable));
}

TEST(GrpcClientTest, APeerThatComesBackIsFoundAgainByTheSameChannel) {
  FakeAggregator service;
  auto server =
      GrpcServer::Start({.listen = "127.0.0.1:0"}, {&service}, {kService});
  CAMHERD_ASSERT_OK(server);
  const std::string address = (*server)->address();
  const auto channel = MakeChannel(address);
  CAMHERD_ASSERT_OK(GetRecord(channel));
  server->reset();
  EXPECT_THAT(GetRecord(channel, absl::Seconds(5)),
              StatusIs(absl::StatusCode::kUnavailable));
  server = GrpcServer::Start({.listen = address}, {&service}, {kService});
  CAMHERD_ASSERT_OK(server);
  CAMHERD_EXPECT_OK(GetRecord(channel, absl::Seconds(30), true));
}

TEST(GrpcClientTest, ProxiesOfTheEnvironmentAreNotUsed) {
  setenv("http_proxy", "http://127.0.0.1:9", 1);
  FakeAggregator service;
  auto server =
      GrpcServer::Start({.listen = "127.0.0.1:0"}, {&service}, {kService});
  CAMHERD_ASSERT_OK(server);
  CAMHERD_EXPECT_OK(GetRecord(MakeChannel((*server)->address())));
  unsetenv("http_proxy");
}

TEST(GrpcClientTest, SpreadsCallsOverTheAddressesOfAPeer) {
  FakeAggregator a;
  FakeAggregator b;
  auto first = GrpcServer::Start({.listen = "127.0.0.1:0"}, {&a}, {kService});
  auto second = GrpcServer::Start({.listen = "127.0.0.1:0"}, {&b}, {kService});
  CAMHERD_ASSERT_OK(first);
  CAMHERD_ASSERT_OK(second);
  const auto channel =
      MakeChannel("ipv4:" + (*first)->address() + "," + (*second)->address());
  // The second connection may come a moment after the first.
  for (int i = 0; i < 2000 && (a.calls() == 0 || b.calls() == 0); ++i) {
    CAMHERD_ASSERT_OK(GetRecord(channel));
  }
  EXPECT_GT(a.calls(), 0);
  EXPECT_GT(b.calls(), 0);
}

TEST(GrpcClientTest, ATargetThatIsNoneShowsAtTheCall) {
  EXPECT_THAT(
      GetRecord(MakeChannel("no-such-host.invalid:1"), absl::Seconds(5)),
      ::testing::Not(camherd::testing::IsOk()));
}

}  // namespace
}  // namespace camherd
