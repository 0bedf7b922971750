// SPDX-License-Identifier: Apache-2.0
#include "services/capture/stream_request.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "tests/support/status_matchers.h"

namespace camherd::capture {
namespace {

using ::camherd::testing::IsOk;
using ::camherd::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

v1::StartStreamRequest Good() {
  v1::StartStreamRequest request;
  request.set_rtsp_url("rtsp://user:hunter2@127.0.0.1:8554/demo");
  return request;
}

// The URL after an update of a stream with one source.
absl::StatusOr<CameraUrl> Updated(const std::optional<CameraUrl>& url,
                                  const v1::UpdateStreamRequest& update) {
  auto checked = CheckUpdateRequest(update, CheckStartRequest(Good(), {})->spec,
                                    url, std::nullopt);
  if (!checked.ok()) return checked.status();
  return checked->url;
}

// With a second source on the same camera, without a login of its own.
v1::StartStreamRequest WithDetectUrl() {
  v1::StartStreamRequest request = Good();
  request.set_detect_url("rtsp://127.0.0.1:8554/sub");
  request.add_models("animals");
  return request;
}

TEST(StreamRequestTest, FillsInWhatIsLeftOut) {
  const auto request = CheckStartRequest(Good(), {});
  ASSERT_THAT(request, IsOk());
  EXPECT_EQ(request->spec.interval_seconds(), 3);
  EXPECT_EQ(request->spec.batch_size(), 10);
  EXPECT_EQ(request->spec.sampling_mode(), v1::SAMPLING_MODE_AUTO);
  EXPECT_EQ(request->spec.transport(), v1::TRANSPORT_TCP);
  EXPECT_THAT(request->spec.rtsp_url(), Not(HasSubstr("hunter2")));
}

struct BadCase {
  std::string name;
  std::function<void(v1::StartStreamRequest&)> spoil;
  std::vector<std::string> says;
};

class BadStreamRequestTest : public ::testing::TestWithParam<BadCase> {};

TEST_P(BadStreamRequestTest, IsRefusedNamingFieldAndValue) {
  v1::StartStreamRequest request = Good();
  GetParam().spoil(request);
  const auto checked = CheckStartRequest(request, {});
  ASSERT_THAT(checked, StatusIs(absl::StatusCode::kInvalidArgument));
  for (const std::string& part : GetParam().says) {
    EXPECT_THAT(std::string(checked.status().message()), HasSubstr(part));
  }
  EXPECT_THAT(std::string(checked.status().message()),
              Not(HasSubstr("hunter2")));
}

using R = v1::StartStreamRequest;
INSTANTIATE_TEST_SUITE_P(
    All, BadStreamRequestTest,
    ::testing::Values(
        BadCase{"NoUrl", [](R& r) { r.clear_rtsp_url(); }, {"rtsp_url"}},
        BadCase{"Http",
                [](R& r) { r.set_rtsp_url("http://u:hunter2@host/x"); },
                {"rtsp_url", "http"}},
        BadCase{"Control",
                [](R& r) { r.set_rtsp_url("rtsp://127.0.0.1/a\nb"); },
                {"rtsp_url"}},
        BadCase{"CameraId",
                [](R& r) { r.set_camera_id("../etc"); },
                {"camera_id", "../etc"}},
        BadCase{"Model",
                [](R& r) { r.add_models("ani mals"); },
                {"model_name", "ani mals"}},
        BadCase{"ModelTwice",
                [](R& r) {
                  r.add_models("a");
                  r.add_models("a");
                },
                {"models", "\"a\""}},
        BadCase{"IntervalZero",
                [](R& r) { r.set_interval_seconds(0); },
                {"interval_seconds must be in [0.1, 86400], got 0"}},
        BadCase{"IntervalNegative",
                [](R& r) { r.set_interval_seconds(-1); },
                {"interval_seconds", "got -1"}},
        BadCase{"IntervalNan",
                [](R& r) { r.set_interval_seconds(std::nan("")); },
                {"interval_seconds", "got nan"}},
        BadCase{"IntervalTiny",
                [](R& r) { r.set_interval_seconds(1e-9); },
                {"interval_seconds", "got 1e-09"}},
        BadCase{"IntervalOverADay",
                [](R& r) { r.set_interval_seconds(86401); },
                {"interval_seconds", "got 86401"}},
        BadCase{"TtlNegative",
                [](R& r) { r.set_ttl_seconds(-1); },
                {"ttl_seconds must be 0 or in [1, 315360000], got -1"}},
        BadCase{"TtlOfAMoment",
                [](R& r) { r.set_ttl_seconds(0.5); },
                {"ttl_seconds", "got 0.5"}},
        BadCase{"TtlOverTenYears",
                [](R& r) { r.set_ttl_seconds(315360001); },
                {"ttl_seconds", "got 315360001"}},
        BadCase{"TtlInfinite",
                [](R& r) { r.set_ttl_seconds(HUGE_VAL); },
                {"ttl_seconds", "got inf"}},
        BadCase{"TtlNan",
                [](R& r) { r.set_ttl_seconds(std::nan("")); },
                {"ttl_seconds", "got nan"}},
        BadCase{"MaxFramesNegative",
                [](R& r) { r.set_max_frames(-1); },
                {"max_frames must be in [0, 1000000000000], got -1"}},
        BadCase{"MaxFramesBeyondJson",
                [](R& r) { r.set_max_frames(1000000000001); },
                {"max_frames", "got 1000000000001"}},
        BadCase{"BatchSize",
                [](R& r) { r.set_batch_size(65); },
                {"batch_size must be in [1, 64], got 65"}},
        BadCase{
            "Mode",
            [](R& r) { r.set_sampling_mode(static_cast<v1::SamplingMode>(9)); },
            {"sampling_mode", "got 9"}},
        BadCase{"Transport",
                [](R& r) { r.set_transport(static_cast<v1::Transport>(9)); },
                {"transport must be one of [tcp, udp], got 9"}},
        BadCase{"UdpBesideTls",
                [](R& r) {
                  r.set_rtsp_url("rtsps://127.0.0.1/demo");
                  r.set_transport(v1::TRANSPORT_UDP);
                },
                {"transport", "rtsps", "got udp"}},
        BadCase{"DetectUrlWithoutModels",
                [](R& r) { r.set_detect_url("rtsp://u:hunter2@h/sub"); },
                {"detect_url must be empty where models is", "@h/sub"}},
        BadCase{"DetectUrlHttp",
                [](R& r) {
                  r.set_detect_url("http://u:hunter2@h/rtsp_url");
                  r.add_models("a");
                },
                {"detect_url must begin with rtsp://", "h/rtsp_url"}},
        BadCase{"DetectUrlTls",
                [](R& r) {
                  r.set_detect_url("rtsps://h/sub");
                  r.add_models("a");
                  r.set_transport(v1::TRANSPORT_UDP);
                },
                {"transport", "rtsps", "got udp"}},
        BadCase{"PasswordAlone",
                [](R& r) { r.set_password("hunter2"); },
                {"user must not be empty"}}),
    [](const auto& test) { return test.param.name; });

TEST(StreamRequestTest, ALeaseIsNoneOrOfSecondsToYears) {
  v1::StartStreamRequest request = Good();
  EXPECT_EQ(CheckStartRequest(request, {})->spec.ttl_seconds(), 0);
  EXPECT_EQ(CheckStartRequest(request, {})->spec.max_frames(), 0);
  request.set_ttl_seconds(315360000);
  request.set_max_frames(1);
  const auto checked = CheckStartRequest(request, {});
  ASSERT_THAT(checked, IsOk());
  EXPECT_EQ(checked->spec.ttl_seconds(), 315360000);
  EXPECT_EQ(checked->spec.max_frames(), 1);
}

TEST(StreamRequestTest, AnotherLeaseThatIsGivenIsADifference) {
  const auto plain = CheckStartRequest(Good(), {});
  v1::StartStreamRequest leased = Good();
  leased.set_ttl_seconds(86400);
  leased.set_max_frames(100);
  const auto running = CheckStartRequest(leased, {});
  EXPECT_EQ(Difference(running->url, std::nullopt, running->spec, *running),
            "");
  // Who gives none means what runs.
  EXPECT_EQ(Difference(running->url, std::nullopt, running->spec, *plain), "");
  EXPECT_THAT(Difference(plain->url, std::nullopt, plain->spec, *running),
              AllOf(HasSubstr("ttl_seconds is 0, asked for 86400"),
                    HasSubstr("max_frames is 0, asked for 100")));
}

TEST(StreamRequestTest, TransportAndVerificationAreAsAskedForOrSafe) {
  v1::StartStreamRequest request = Good();
  EXPECT_TRUE(CheckStartRequest(request, {})->spec.tls_verify());
  request.set_transport(v1::TRANSPORT_UDP);
  request.set_tls_verify(false);
  const auto checked = CheckStartRequest(request, {});
  ASSERT_THAT(checked, IsOk());
  EXPECT_EQ(checked->spec.transport(), v1::TRANSPORT_UDP);
  EXPECT_FALSE(checked->spec.tls_verify());
}

TEST(StreamRequestTest, ARunningStreamDiffersByWhatTheCallerNamed) {
  const auto running = CheckStartRequest(Good(), {});
  v1::StartStreamRequest other = Good();
  other.set_transport(v1::TRANSPORT_UDP);
  other.set_tls_verify(false);
  const auto asked = CheckStartRequest(other, {});
  EXPECT_THAT(Difference(running->url, std::nullopt, running->spec, *asked),
              AllOf(HasSubstr("transport is tcp, asked for udp"),
                    HasSubstr("tls_verify is true, asked for false")));
  // Who names neither means what runs.
  EXPECT_EQ(Difference(running->url, std::nullopt, asked->spec, *running), "");
}

TEST(StreamRequestTest, NamesEachDifferenceAndNoSecret) {
  const auto running = CheckStartRequest(Good(), {});
  v1::StartStreamRequest other = Good();
  other.set_rtsp_url("rtsp://user:hunter3@127.0.0.1:8554/demo");
  other.set_interval_seconds(1);
  other.add_models("animals");
  const auto asked = CheckStartRequest(other, {});
  const std::string difference =
      Difference(running->url, std::nullopt, running->spec, *asked);
  EXPECT_THAT(difference, AllOf(HasSubstr("rtsp_url has other credentials"),
                                HasSubstr("interval_seconds is 3, asked for 1"),
                                HasSubstr("models is [], asked for [animals]"),
                                Not(HasSubstr("hunter"))));
  EXPECT_EQ(Difference(running->url, std::nullopt, running->spec, *running),
            "");
}

TEST(StreamRequestTest, CredentialsGoOnWithANewPathButNotToAnotherHost) {
  const auto current = CheckStartRequest(Good(), {});
  v1::UpdateStreamRequest update;
  update.set_rtsp_url("rtsp://127.0.0.1:8554/other");
  auto url = Updated(current->url, update);
  ASSERT_THAT(url, IsOk());
  EXPECT_THAT(url->Full(), HasSubstr("user:hunter2@127.0.0.1:8554/other"));
  update.set_rtsp_url("rtsp://192.0.2.1/other");
  url = Updated(current->url, update);
  ASSERT_THAT(url, IsOk());
  EXPECT_THAT(url->Full(), Not(HasSubstr("hunter2")));
}

TEST(StreamRequestTest, APasswordAloneReplacesThePassword) {
  const auto current = CheckStartRequest(Good(), {});
  v1::UpdateStreamRequest update;
  update.set_password("a@b:c/d");
  const auto url = Updated(current->url, update);
  ASSERT_THAT(url, IsOk());
  EXPECT_THAT(url->Full(), HasSubstr("user:a%40b%3Ac%2Fd@127.0.0.1:8554/demo"));
}

TEST(StreamRequestTest, AnEmptyUserAndPasswordTakeTheCredentialsOut) {
  const auto current = CheckStartRequest(Good(), {});
  v1::UpdateStreamRequest update;
  update.set_user("");
  update.set_password("");
  auto url = Updated(current->url, update);
  ASSERT_THAT(url, IsOk());
  EXPECT_EQ(url->Full(), "rtsp://127.0.0.1:8554/demo");
  update.set_rtsp_url("rtsp://other:hunter3@127.0.0.1:8554/other");
  url = Updated(current->url, update);
  ASSERT_THAT(url, IsOk());
  EXPECT_EQ(url->Full(), "rtsp://127.0.0.1:8554/other");
  update.clear_password();
  EXPECT_THAT(Updated(current->url, update),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("user must not be empty"),
                             Not(HasSubstr("hunter")))));
}

TEST(StreamRequestTest, AnUpdateOfSomethingElseLeavesTheUrlAsItIs) {
  for (const char* text : {"rtsp://user@h/x", "rtsp://:hunter2@h/x"}) {
    const auto current = CameraUrl::Parse(text);
    ASSERT_THAT(current, IsOk());
    const auto url = Updated(*current, v1::UpdateStreamRequest());
    ASSERT_THAT(url, IsOk());
    EXPECT_EQ(url->Full(), text);
  }
}

TEST(StreamRequestTest, WhereTheStoredUrlCannotBeUsedAnUpdateBringsOne) {
  v1::UpdateStreamRequest update;
  EXPECT_THAT(Updated(std::nullopt, update),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("rtsp_url must be given")));
  update.set_rtsp_url("rtsp://h/x");
  update.set_user("user");
  const auto url = Updated(std::nullopt, update);
  ASSERT_THAT(url, IsOk());
  EXPECT_EQ(url->Full(), "rtsp://user:@h/x");
}

TEST(StreamRequestTest, TheSecondSourceTakesTheLoginOnTheSameServer) {
  v1::StartStreamRequest request = WithDetectUrl();
  auto checked = CheckStartRequest(request, {});
  ASSERT_THAT(checked, IsOk());
  EXPECT_EQ(checked->detect_url->Full(),
            "rtsp://user:hunter2@127.0.0.1:8554/sub");
  EXPECT_THAT(checked->spec.detect_url(), Not(HasSubstr("hunter2")));
  request.set_detect_url("rtsp://192.0.2.1/sub");
  checked = CheckStartRequest(request, {});
  EXPECT_EQ(checked->detect_url->Full(), "rtsp://192.0.2.1/sub");
  request.set_user("a");
  request.set_password("b");
  checked = CheckStartRequest(request, {});
  EXPECT_EQ(checked->detect_url->Full(), "rtsp://a:b@192.0.2.1/sub");
}

TEST(StreamRequestTest, AnUpdateChangesTheSecondSourceForItself) {
  const auto running = CheckStartRequest(WithDetectUrl(), {});
  const auto updated = [&](const v1::UpdateStreamRequest& update) {
    return CheckUpdateRequest(update, running->spec, running->url,
                              running->detect_url);
  };
  v1::UpdateStreamRequest update;
  update.set_interval_seconds(7);
  auto checked = updated(update);
  ASSERT_THAT(checked, IsOk());
  EXPECT_EQ(checked->detect_url, running->detect_url);

  update.set_detect_url("rtsp://127.0.0.1:8554/smaller");
  checked = updated(update);
  EXPECT_EQ(checked->detect_url->Full(),
            "rtsp://user:hunter2@127.0.0.1:8554/smaller");
  EXPECT_EQ(checked->url, running->url);

  update.set_detect_url("rtsp://192.0.2.1/sub");
  EXPECT_EQ(updated(update)->detect_url->Full(), "rtsp://192.0.2.1/sub");

  update.clear_detect_url();
  update.set_password("new");
  checked = updated(update);
  EXPECT_THAT(checked->url.Full(), HasSubstr("user:new@"));
  EXPECT_THAT(checked->detect_url->Full(), HasSubstr("user:new@"));

  // That of another server stays without a login.
  v1::UpdateStreamRequest other_server;
  other_server.set_password("new");
  const auto elsewhere =
      CheckUpdateRequest(other_server, running->spec, running->url,
                         *CameraUrl::Parse("rtsp://192.0.2.1/sub"));
  ASSERT_THAT(elsewhere, IsOk());
  EXPECT_EQ(elsewhere->detect_url->Full(), "rtsp://192.0.2.1/sub");

  update.mutable_models();
  EXPECT_THAT(updated(update),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("detect_url must be empty where models is")));
  update.set_detect_url("");
  checked = updated(update);
  ASSERT_THAT(checked, IsOk());
  EXPECT_FALSE(checked->detect_url.has_value());
  EXPECT_EQ(checked->spec.detect_url(), "");
}

TEST(StreamRequestTest, AnotherSecondSourceIsADifferenceNoneIsNot) {
  const auto running = CheckStartRequest(WithDetectUrl(), {});
  v1::StartStreamRequest request = WithDetectUrl();
  const auto difference = [&] {
    return Difference(running->url, running->detect_url, running->spec,
                      *CheckStartRequest(request, {}));
  };
  EXPECT_EQ(difference(), "");
  request.set_detect_url("rtsp://user:hunter3@127.0.0.1:8554/sub");
  EXPECT_EQ(difference(), "detect_url has other credentials");
  request.set_detect_url("rtsp://192.0.2.1/sub");
  EXPECT_THAT(difference(), HasSubstr("asked for rtsp://192.0.2.1/sub"));
  request.clear_detect_url();
  EXPECT_EQ(difference(), "");
}

TEST(StreamRequestTest, ASecondNameGetsANumberWithin64Characters) {
  const auto never = [](const std::string&) { return false; };
  EXPECT_EQ(UniqueName("demo", never), "demo");
  EXPECT_EQ(UniqueName("demo",
                       [](const std::string& n) {
                         return n == "demo" || n == "demo-2";
                       }),
            "demo-3");
  const std::string full(64, 'x');
  EXPECT_EQ(UniqueName(full, [&](const std::string& n) { return n == full; }),
            std::string(62, 'x') + "-2");
}

}  // namespace
}  // namespace camherd::capture
