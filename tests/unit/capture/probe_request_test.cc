// SPDX-License-Identifier: Apache-2.0
#include "services/capture/probe_request.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "services/capture/stream_request.h"
#include "tests/support/status_matchers.h"

namespace camherd::capture {
namespace {

using ::camherd::testing::IsOk;
using ::camherd::testing::StatusIs;

TEST(ProbeRequestTest, TakesUrlLoginAndTransport) {
  v1::ProbeSourceRequest request;
  request.set_rtsp_url("rtsp://127.0.0.1:8554/demo");
  request.set_user("admin");
  request.set_password("p@ss");
  const absl::StatusOr<ProbeTarget> checked = CheckProbeRequest(request);
  ASSERT_THAT(checked, IsOk());
  EXPECT_EQ(checked->url.Full(), "rtsp://admin:p%40ss@127.0.0.1:8554/demo");
  EXPECT_EQ(checked->transport, v1::TRANSPORT_TCP);
  EXPECT_TRUE(checked->tls_verify);
  request.set_tls_verify(false);
  request.set_transport(v1::TRANSPORT_UDP);
  EXPECT_FALSE(CheckProbeRequest(request)->tls_verify);
  EXPECT_EQ(CheckProbeRequest(request)->transport, v1::TRANSPORT_UDP);
}

TEST(ProbeRequestTest, RefusesWhatStartStreamRefusesWithTheSameWords) {
  const auto expect_same = [](const std::string& url, const std::string& user,
                              const std::string& password,
                              v1::Transport transport) {
    v1::StartStreamRequest start;
    v1::ProbeSourceRequest probe;
    const auto fill = [&](auto& request) {
      request.set_rtsp_url(url);
      request.set_user(user);
      request.set_password(password);
      request.set_transport(transport);
    };
    fill(start);
    fill(probe);
    const absl::Status of_start = CheckStartRequest(start, {}).status();
    EXPECT_FALSE(of_start.ok()) << url;
    EXPECT_EQ(CheckProbeRequest(probe).status(), of_start);
  };
  for (const char* url :
       {"", "http://127.0.0.1/demo", "rtsp:///demo", "rtsp://127.0.0.1:70000/a",
        "rtsp://127.0.0.1/a b", "rtsp://a@b@127.0.0.1/demo", "demo"}) {
    expect_same(url, "", "", v1::TRANSPORT_TCP);
  }
  const std::string good = "rtsp://127.0.0.1/demo";
  expect_same(good, "", "secret", v1::TRANSPORT_TCP);
  expect_same(good, std::string(300, 'u'), "", v1::TRANSPORT_TCP);
  expect_same(good, "u", "a\nb", v1::TRANSPORT_TCP);
  expect_same(good, "", "", static_cast<v1::Transport>(7));
}

}  // namespace
}  // namespace camherd::capture
