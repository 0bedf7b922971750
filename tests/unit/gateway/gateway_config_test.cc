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
  CAMHERD_EXPECT_OK(Load({{"CAMHERD_GATEWAY_LISTEN", "0.0.0.0:8000"},
                          {"CAMHERD_GATEWAY_AUTH", "tokens"},
                          {"CAMHERD_GATEWAY_TOKENS_FILE", "/etc/tokens"}})
                        .status());
}

TEST(GatewayConfigTest, TokensAndTheWordForThemGoTogether) {
  EXPECT_FALSE(Load({})->auth.required);
  EXPECT_THAT(
      Load({{"CAMHERD_GATEWAY_AUTH", "tokens"}}).status(),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("gateway.auth")));
  EXPECT_THAT(
      Load({{"CAMHERD_GATEWAY_TOKENS_FILE", "/etc/tokens"}}).status(),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("gateway.auth")));
  const std::string digest(64, 'a');
  const auto config = Load(
      {{"CAMHERD_GATEWAY_AUTH", "tokens"},
       {"CAMHERD_GATEWAY_TOKENS",
        digest + " viewer wall, " + std::string(64, 'b') + " admin root"}});
  CAMHERD_ASSERT_OK(config.status());
  EXPECT_TRUE(config->auth.required);
  EXPECT_THAT(config->auth.tokens, ::testing::SizeIs(2));
  EXPECT_THAT(Load({{"CAMHERD_GATEWAY_AUTH", "tokens"},
                    {"CAMHERD_GATEWAY_TOKENS", digest + " owner wall"}})
                  .status(),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("the role must be one of")));
}

TEST(GatewayConfigTest, WantsACertificateAndItsKeyOrNeither) {
  EXPECT_THAT(Load({{"CAMHERD_GATEWAY_TLS_KEY", "/key.pem"}}).status(),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("tls_certificate")));
  EXPECT_THAT(
      Load({{"CAMHERD_GATEWAY_TLS_CERTIFICATE", "/cert.pem"}}).status(),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("tls_key")));
  const auto config = Load({{"CAMHERD_GATEWAY_TLS_CERTIFICATE", "/cert.pem"},
                            {"CAMHERD_GATEWAY_TLS_KEY", "/key.pem"}});
  CAMHERD_ASSERT_OK(config.status());
  EXPECT_EQ(config->http.front.tls.key, "/key.pem");
}

TEST(GatewayConfigTest, RefusesAListenAddressThatIsNone) {
  EXPECT_THAT(
      Load({{"CAMHERD_GATEWAY_LISTEN", "localhost"}}).status(),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("host:port")));
}

TEST(GatewayConfigTest, TheAddressOfTheMapsTilesHasAPlainHostAndAllThreeParts) {
  CAMHERD_EXPECT_OK(Load({{"CAMHERD_GATEWAY_MAP_TILE_URL",
                           "https://tiles.example.org:8443/{z}/{x}/{y}.png"}})
                        .status());
  for (const char* bad :
       {"tiles.example.org/{z}/{x}/{y}", "https:///{z}/{x}/{y}",
        "https://tiles.example.org", "https://tiles.example.org/{z}/{x}.png",
        "https://a; script-src *.example.org/{z}/{x}/{y}",
        "https://{s}.example.org/{z}/{x}/{y}"}) {
    EXPECT_THAT(
        Load({{"CAMHERD_GATEWAY_MAP_TILE_URL", bad}}).status(),
        StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("map_tile_url")))
        << bad;
  }
}

}  // namespace
}  // namespace camherd::gateway
