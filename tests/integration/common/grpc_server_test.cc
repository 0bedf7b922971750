// SPDX-License-Identifier: Apache-2.0
#include "services/common/grpc_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "services/common/clock.h"
#include "services/common/grpc_client.h"
#include "services/common/grpc_status.h"
#include "services/common/retry_delay.h"
#include "tests/integration/common/fake_aggregator.h"
#include "tests/integration/common/generic_call.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace camherd {
namespace {

using ::camherd::testing::FakeAggregator;
using ::camherd::testing::GenericCall;
using ::camherd::testing::StatusIs;
using ::testing::AnyOf;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;

constexpr char kService[] = "camherd.v1.AggregatorService";

class GrpcServerTest : public ::testing::Test {
 protected:
  void Start(const GrpcServer::Options& options = {.listen = "127.0.0.1:0"}) {
    auto server = GrpcServer::Start(options, {&service_}, {kService});
    CAMHERD_ASSERT_OK(server);
    server_ = *std::move(server);
    channel_ = MakeChannel(server_->address());
    stub_ = camherd::v1::AggregatorService::NewStub(channel_);
  }

  // What the health service answers for `name`: SERVING, NOT_SERVING, or the
  // error.
  std::string Health(const std::string& name) {
    // HealthCheckRequest{service = 1}, HealthCheckResponse{status = 1}.
    const std::string request =
        name.empty()
            ? ""
            : absl::StrCat("\x0a", std::string(1, char(name.size())), name);
    std::string response;
    const grpc::Status status = GenericCall(
        channel_, "/grpc.health.v1.Health/Check", request, &response);
    if (!status.ok()) return std::string(FromGrpcStatus(status).ToString());
    if (response == "\x08\x01") return "SERVING";
    if (response == "\x08\x02") return "NOT_SERVING";
    return response;
  }

  absl::Status GetRecord(absl::Duration timeout = absl::Seconds(10)) {
    grpc::ClientContext context;
    SetDeadline(context, timeout);
    camherd::v1::Record record;
    const grpc::Status status = stub_->GetRecord(&context, {}, &record);
    return FromGrpcStatus(status, &context);
  }

  FakeAggregator service_;
  std::unique_ptr<GrpcServer> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<camherd::v1::AggregatorService::Stub> stub_;
};

TEST_F(GrpcServerTest, ServesOnAFreePortAndTellsWhich) {
  Start();
  EXPECT_THAT(server_->address(), MatchesRegex("127.0.0.1:[1-9][0-9]*"));
  CAMHERD_EXPECT_OK(GetRecord());
}

TEST_F(GrpcServerTest, ServesOnAUnixSocket) {
  testing::TempDir dir;
  const std::string address = absl::StrCat("unix:", dir / "s");
  Start({.listen = address});
  EXPECT_EQ(server_->address(), address);
  CAMHERD_EXPECT_OK(GetRecord());
}

TEST_F(GrpcServerTest, HealthIsNotServingUntilSaidSoAndAfterStop) {
  Start();
  EXPECT_EQ(Health(""), "NOT_SERVING");
  EXPECT_EQ(Health(kService), "NOT_SERVING");
  server_->SetServing(true);
  EXPECT_EQ(Health(""), "SERVING");
  EXPECT_EQ(Health(kService), "SERVING");
  server_->SetServing(false);
  EXPECT_EQ(Health(kService), "NOT_SERVING");
  EXPECT_THAT(Health("no.such.Service"), HasSubstr("NOT_FOUND"));
}

TEST_F(GrpcServerTest, IsLiveWhileItIsNotServing) {
  Start();
  EXPECT_EQ(Health("live"), "SERVING");
  server_->SetServing(false, "the disk is full");
  EXPECT_EQ(Health(""), "NOT_SERVING");
  EXPECT_EQ(Health("live"), "SERVING");
}

TEST_F(GrpcServerTest, AnAnswerOfHealthSaysWhyItIsNotServing) {
  Start();
  const auto reason = [this] {
    grpc::ClientContext context;
    SetDeadline(context, absl::Seconds(10));
    grpc::GenericStub stub(channel_);
    grpc::ByteBuffer request(nullptr, 0);
    grpc::ByteBuffer response;
    absl::Notification done;
    stub.UnaryCall(&context, "/grpc.health.v1.Health/Check",
                   grpc::StubOptions(), &request, &response,
                   [&done](const grpc::Status&) { done.Notify(); });
    done.WaitForNotification();
    const auto& metadata = context.GetServerTrailingMetadata();
    const auto it = metadata.find(kNotServingReason);
    return it == metadata.end()
               ? std::string()
               : std::string(it->second.data(), it->second.size());
  };
  EXPECT_EQ(reason(), "");
  server_->SetServing(false, "the disk /v\u00f6lker is low");
  EXPECT_EQ(Health(""), "NOT_SERVING");
  EXPECT_EQ(reason(), "the disk /v\u00f6lker is low");
  server_->SetServing(true);
  EXPECT_EQ(Health(""), "SERVING");
  EXPECT_EQ(reason(), "");
}

TEST_F(GrpcServerTest, ReflectionListsTheServicesWhereItIsOn) {
  Start({.listen = "127.0.0.1:0", .reflection = true});
  std::string response;
  // ServerReflectionRequest{list_services = 7}.
  const grpc::Status status =
      GenericCall(channel_,
                  "/grpc.reflection.v1alpha.ServerReflection/"
                  "ServerReflectionInfo",
                  std::string("\x3a\x00", 2), &response);
  EXPECT_TRUE(status.ok()) << status.error_message();
  EXPECT_THAT(response, HasSubstr(kService));
}

TEST_F(GrpcServerTest, ReflectionIsUnimplementedWhereItIsOff) {
  Start({.listen = "127.0.0.1:0", .reflection = false});
  std::string response;
  const grpc::Status status =
      GenericCall(channel_,
                  "/grpc.reflection.v1alpha.ServerReflection/"
                  "ServerReflectionInfo",
                  std::string("\x3a\x00", 2), &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNIMPLEMENTED);
  EXPECT_EQ(response, "");
  CAMHERD_EXPECT_OK(GetRecord());
}

TEST_F(GrpcServerTest, AUsedPortIsAnErrorThatNamesIt) {
  Start();
  FakeAggregator other;
  EXPECT_THAT(
      GrpcServer::Start({.listen = server_->address()}, {&other}, {kService}),
      StatusIs(absl::StatusCode::kUnavailable, HasSubstr(server_->address())));
  CAMHERD_EXPECT_OK(GetRecord());
}

TEST_F(GrpcServerTest, AnAddressThatIsNotOursIsAnErrorThatNamesIt) {
  for (const char* listen : {"192.0.2.1:0", "no-such-host.invalid:0", "x"}) {
    EXPECT_THAT(
        GrpcServer::Start(
            {.listen = listen, .security = {.tokens = {"0123456789abcdef"}}},
            {&service_}, {kService}),
        StatusIs(absl::StatusCode::kUnavailable, HasSubstr(listen)))
        << listen;
  }
}

TEST_F(GrpcServerTest, ARetryDelayTravelsWithTheStatus) {
  Start();
  service_.set_status(WithRetryDelay(absl::UnavailableError("building"),
                                     absl::Milliseconds(2500)));
  const absl::Status status = GetRecord();
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kUnavailable, "building"));
  EXPECT_EQ(RetryDelay(status), absl::Milliseconds(2500));
  service_.set_status(absl::UnavailableError("away"));
  EXPECT_EQ(RetryDelay(GetRecord()), std::nullopt);
}

TEST_F(GrpcServerTest, ACallEndsAtItsDeadlineWhichTheServerSees) {
  Start();
  service_.Hold();
  const absl::Time before = Clock::Real().Now();
  EXPECT_THAT(GetRecord(absl::Milliseconds(50)),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
  if (service_.calls() > 0) {
    EXPECT_GE(service_.deadline(), before);
    EXPECT_LE(service_.deadline(), before + absl::Seconds(2));
  }
  service_.Release();
}

TEST_F(GrpcServerTest, StopLetsCallsInFlightEnd) {
  Start();
  service_.Hold();
  absl::Status status = absl::UnknownError("not called");
  std::thread caller([&] { status = GetRecord(); });
  service_.WaitForHeldCall();
  std::thread stopper([&] { server_->Stop(absl::Seconds(30)); });
  service_.Release();
  caller.join();
  stopper.join();
  CAMHERD_EXPECT_OK(status);
}

TEST_F(GrpcServerTest, StopCancelsWhatIsStillInFlightAfterTheDrain) {
  Start();
  service_.Hold();
  absl::Status status;
  std::thread caller([&] { status = GetRecord(absl::Seconds(60)); });
  service_.WaitForHeldCall();
  std::thread stopper([&] { server_->Stop(absl::Milliseconds(20)); });
  caller.join();
  EXPECT_FALSE(status.ok());
  EXPECT_FALSE(absl::IsDeadlineExceeded(status));
  service_.Release();
  stopper.join();
}

TEST_F(GrpcServerTest, AStoppedServerRefusesCallsAndMayBeStoppedAgain) {
  Start();
  CAMHERD_ASSERT_OK(GetRecord());
  server_->Stop(absl::Seconds(5));
  server_->Stop(absl::Seconds(5));
  EXPECT_THAT(GetRecord(absl::Milliseconds(500)),
              ::testing::Not(camherd::testing::IsOk()));
}

TEST_F(GrpcServerTest, AHealthWatcherHoldsUpTheStopNoLongerThanTheDrain) {
  Start();
  std::string response;
  std::thread watcher([&] {
    GenericCall(channel_, "/grpc.health.v1.Health/Watch", "", &response,
                absl::Seconds(60));
  });
  // A second call on the same connection comes after the watch.
  EXPECT_EQ(Health(""), "NOT_SERVING");
  Clock& clock = Clock::Real();
  const absl::Duration before = clock.SteadyNow();
  server_->Stop(absl::Milliseconds(100));
  EXPECT_LT(clock.SteadyNow() - before, absl::Seconds(5));
  watcher.join();
}

TEST_F(GrpcServerTest, AMessageOverTheLimitIsRefused) {
  Start({.listen = "127.0.0.1:0", .max_message_bytes = 1000});
  std::string response;
  const grpc::Status status =
      GenericCall(channel_, absl::StrCat("/", kService, "/GetRecord"),
                  std::string(2000, '\0'), &response);
  // Once in thousands of calls the reset of the stream comes before the status.
  EXPECT_THAT(status.error_code(), AnyOf(grpc::StatusCode::RESOURCE_EXHAUSTED,
                                         grpc::StatusCode::UNAVAILABLE))
      << status.error_message();
  EXPECT_EQ(service_.calls(), 0);
}

}  // namespace
}  // namespace camherd
