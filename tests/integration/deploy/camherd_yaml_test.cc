// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <yaml-cpp/yaml.h>

#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gateway/gateway_config.h"
#include "services/aggregator/aggregator_config.h"
#include "services/capture/capture_config.h"
#include "services/common/grpc_security.h"
#include "services/common/yaml_config.h"
#include "services/inference/inference_config.h"
#include "tests/support/status_matchers.h"

// deploy/config/camherd.yaml is the reference of the configuration: it names
// every key with its default.
namespace camherd {
namespace {

using ::testing::IsSubsetOf;

// The effective values of each section, "section.key=value".
std::vector<std::string> Effective(const std::string& path) {
  std::vector<std::string> values;
  const auto config = YamlConfig::Load(path, {});
  EXPECT_THAT(config, camherd::testing::IsOk());
  if (!config.ok()) return values;
  const auto add = [&values](const char* section,
                             const std::vector<std::string>& effective) {
    for (const std::string& value : effective) {
      values.push_back(absl::StrCat(section, ".", value));
    }
  };
  const auto capture = capture::LoadCaptureConfig(*config, "/data");
  CAMHERD_EXPECT_OK(capture);
  if (capture.ok()) add("capture", capture->effective);
  const auto inference = inference::LoadInferenceConfig(*config, "/data");
  CAMHERD_EXPECT_OK(inference);
  if (inference.ok()) add("inference", inference->effective);
  ConfigSection aggregator = config->Section("aggregator");
  CAMHERD_EXPECT_OK(aggregator::LoadAggregatorConfig(aggregator, "/data"));
  add("aggregator", aggregator.effective());
  ConfigSection grpc = config->Section("grpc");
  CAMHERD_EXPECT_OK(LoadGrpcSecurity(grpc));
  add("grpc", grpc.effective());
  ConfigSection gateway = config->Section("gateway");
  CAMHERD_EXPECT_OK(gateway::LoadGatewayConfig(gateway));
  add("gateway", gateway.effective());
  return values;
}

TEST(CamherdYamlTest, HoldsTheDefaults) {
  const std::vector<std::string> of_file = Effective(CAMHERD_YAML);
  const std::vector<std::string> defaults = Effective("");
  EXPECT_GT(defaults.size(), 20u);
  EXPECT_EQ(of_file, defaults);
}

TEST(CamherdYamlTest, NamesEveryKey) {
  std::set<std::string> named;
  const YAML::Node root = YAML::LoadFile(CAMHERD_YAML);
  for (const auto& section : root) {
    for (const auto& key : section.second) {
      named.insert(
          absl::StrCat(section.first.Scalar(), ".", key.first.Scalar()));
    }
  }
  std::set<std::string> asked;
  for (const std::string& value : Effective("")) {
    asked.insert(value.substr(0, value.find('=')));
  }
  EXPECT_THAT(asked, IsSubsetOf(named));
}

}  // namespace
}  // namespace camherd
