// SPDX-License-Identifier: Apache-2.0
#include "gateway/gateway_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/status_matchers.h"

namespace camherd::gateway {
namespace {

using ::camherd::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

absl::StatusOr<GatewayConfig> Load(const YamlConfig::Environment& environment) {
  const absl::StatusOr<YamlConfig> config = YamlConfig::Load("", environment);
  if (!config.ok()) return config.status();
  ConfigSection section = config->Section("gateway");
  return LoadGatewayConfig(section);
}

TEST(GatewayConfigTest, ListensOnTheDocumentsPortsByDefault) {
  const auto config = Load({});
  CAMHERD_ASSERT_OK(config.status());
  EXPECT_THAT(config->http.listen,
              ElementsAre("localhost:5000", "localhost:8000"));
  EXPECT_EQ(config->metrics_listen, "127.0.0.1:50064");
  EXPECT_EQ(config->backends.capture, "127.0.0.1:50051");
}

TEST(GatewayConfigTest, RefusesToListenBeyondLoopbackWithoutAWord) {
  EXPECT_THAT(
      Load({{"CAMHERD_GATEWAY_LISTEN", "0.0.0.0:8000"}}).status(),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("0.0.0.0:8000")));
  CAMHERD_EXPECT_OK(Load({{"CAMHERD_GATEWAY_LISTEN", "0.0.0.0:8000"},
                          {"CAMHERD_GATEWAY_AUTH", "none"}})
                        .status());
}

TEST(GatewayConfigTest, RefusesAListenAddressThatIsNone) {
  EXPECT_THAT(
      Load({{"CAMHERD_GATEWAY_LISTEN", "localhost"}}).status(),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("host:port")));
}

}  // namespace
}  // namespace camherd::gateway
