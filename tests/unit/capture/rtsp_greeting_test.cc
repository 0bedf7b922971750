// SPDX-License-Identifier: Apache-2.0
#include "services/capture/rtsp_greeting.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "tests/support/fake_port.h"
#include "tests/support/status_matchers.h"

namespace camherd::capture {
namespace {

using ::camherd::testing::FakePort;
using ::camherd::testing::IsOk;
using ::camherd::testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;

constexpr char kOptions[] =
    "RTSP/1.0 200 OK\r\nCSeq: 1\r\nPublic: OPTIONS, DESCRIBE, PLAY\r\n"
    "Server: GStreamer RTSP server\r\n\r\n";

class RtspGreetingTest : public ::testing::Test {
 protected:
  absl::StatusOr<RtspGreeting> Greet(
      const std::string& url = "rtsp://u:canary@127.0.0.1:8554/live?x=1") {
    const auto connection = port_.Connections()([] { return false; });
    return GreetRtspServer(*connection, CameraUrl::Parse(url).value(),
                           absl::InfiniteDuration());
  }

  FakePort port_;
};

TEST_F(RtspGreetingTest, TellsServerMethodsStatusAndWaysToLogIn) {
  port_.answers = {
      kOptions,
      "RTSP/1.0 401 Unauthorized\r\nWWW-Authenticate: Digest realm=\"x\", "
      "nonce=\"y\"\r\nWWW-Authenticate: Basic realm=\"x\"\r\n\r\n"};
  const absl::StatusOr<RtspGreeting> greeting = Greet();
  ASSERT_THAT(greeting, IsOk());
  EXPECT_EQ(greeting->server, "GStreamer RTSP server");
  EXPECT_EQ(greeting->methods, "OPTIONS, DESCRIBE, PLAY");
  EXPECT_EQ(greeting->options_status, 200);
  EXPECT_EQ(greeting->describe_status, 401);
  EXPECT_THAT(greeting->schemes, ElementsAre("digest", "basic"));
}

TEST_F(RtspGreetingTest, AsksForTheUrlWithoutUserInfo) {
  port_.answers = {kOptions, "RTSP/1.0 200 OK\r\n\r\n"};
  ASSERT_THAT(Greet(), IsOk());
  ASSERT_EQ(port_.requests().size(), 2u);
  EXPECT_THAT(
      port_.requests()[0],
      StartsWith(
          "OPTIONS rtsp://127.0.0.1:8554/live?x=1 RTSP/1.0\r\nCSeq: 1\r\n"));
  EXPECT_THAT(
      port_.requests()[1],
      AllOf(StartsWith(
                "DESCRIBE rtsp://127.0.0.1:8554/live?x=1 RTSP/1.0\r\nCSeq: 2"),
            HasSubstr("\r\nAccept: application/sdp\r\n\r\n"),
            Not(HasSubstr("canary"))));
}

TEST_F(RtspGreetingTest, SkipsABodyBeforeTheNextAnswer) {
  port_.answers = {"RTSP/1.0 200 OK\r\ncontent-length: 9\r\n\r\nno\r\n\r\nyes",
                   "RTSP/1.0 404 Not Found\r\nServer: late\r\n\r\n"};
  const absl::StatusOr<RtspGreeting> greeting = Greet();
  ASSERT_THAT(greeting, IsOk());
  EXPECT_EQ(greeting->describe_status, 404);
  EXPECT_EQ(greeting->server, "late");
  EXPECT_THAT(greeting->schemes, IsEmpty());
}

TEST_F(RtspGreetingTest, ACameraMayCloseAfterItsFirstAnswer) {
  port_.answers = {
      "RTSP/1.0 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"a\"\r\n"
      "\r\n"};
  const absl::StatusOr<RtspGreeting> greeting = Greet();
  ASSERT_THAT(greeting, IsOk());
  EXPECT_EQ(greeting->options_status, 401);
  EXPECT_EQ(greeting->describe_status, 0);
  EXPECT_THAT(greeting->schemes, ElementsAre("basic"));
}

TEST_F(RtspGreetingTest, WhatIsNoRtspIsToldSoAtItsFirstBytes) {
  port_.answers = {"SSH-2.0-OpenSSH_9.2\r\n"};
  EXPECT_THAT(Greet(), StatusIs(absl::StatusCode::kDataLoss,
                                HasSubstr("no RTSP server")));
  port_.answers = {"", "", "HTTP/1.1 400 Bad Request\r\n\r\n"};
  EXPECT_THAT(Greet(), StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_THAT(Greet(),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("a web server")));
}

TEST_F(RtspGreetingTest, ABadStatusLineIsNoRtsp) {
  for (const char* line : {"RTSP/1.0", "RTSP/1.0 2000 OK", "RTSP/1.0 abc OK",
                           "RTSP/1.0 -10 OK", "RTSP/1.0 099 OK"}) {
    FakePort port;
    port.answers = {absl::StrCat(line, "\r\n\r\n")};
    const auto connection = port.Connections()([] { return false; });
    EXPECT_THAT(GreetRtspServer(*connection,
                                CameraUrl::Parse("rtsp://127.0.0.1/a").value(),
                                absl::InfiniteDuration()),
                StatusIs(absl::StatusCode::kDataLoss))
        << line;
  }
}

TEST_F(RtspGreetingTest, AnAnswerThatDoesNotEndIsGivenUp) {
  port_.bytes_a_read = 4096;
  port_.answers = {
      absl::StrCat("RTSP/1.0 200 OK\r\nX: ", std::string(1 << 20, 'y'))};
  EXPECT_THAT(Greet(),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("does not end")));
}

TEST_F(RtspGreetingTest, ABodyThatIsTooLongIsGivenUp) {
  port_.answers = {"RTSP/1.0 200 OK\r\nContent-Length: 2000000000\r\n\r\n"};
  EXPECT_THAT(Greet(),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("2000000000")));
}

TEST_F(RtspGreetingTest, WhatTheServerSaysIsCutAndPrintable) {
  port_.answers = {absl::StrCat("RTSP/1.0 200 OK\r\nServer: \x1b[31m\xff",
                                std::string(500, 's'), "\r\n\r\n"),
                   "RTSP/1.0 200 OK\r\n\r\n"};
  const absl::StatusOr<RtspGreeting> greeting = Greet();
  ASSERT_THAT(greeting, IsOk());
  EXPECT_THAT(greeting->server, StartsWith("?[31m?sss"));
  EXPECT_EQ(greeting->server.size(), 120u);
}

}  // namespace
}  // namespace camherd::capture
