// SPDX-License-Identifier: Apache-2.0
#include "services/inference/inference_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "tests/support/status_matchers.h"
#include "tests/unit/inference/fakes.h"

namespace camherd::inference {
namespace {

using ::camherd::inference::testing::TempDir;
using ::camherd::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

absl::StatusOr<InferenceConfig> Load(const std::string& path,
                                     const YamlConfig::Environment& env = {}) {
  const auto config = YamlConfig::Load(path, env);
  if (!config.ok()) return config.status();
  return LoadInferenceConfig(*config, "/data");
}

TEST(InferenceConfigTest, TheShippedFileHoldsEveryKeyWithItsDefault) {
  const auto shipped = Load(CAMHERD_SOURCE_DIR "/deploy/config/camherd.yaml");
  CAMHERD_ASSERT_OK(shipped);
  const auto defaults = Load("");
  CAMHERD_ASSERT_OK(defaults);
  EXPECT_EQ(shipped->effective, defaults->effective);
  const auto text =
      ReadFile(CAMHERD_SOURCE_DIR "/deploy/config/camherd.yaml", 1 << 20);
  CAMHERD_ASSERT_OK(text);
  const std::string section = text->substr(text->find("\ninference:"));
  for (const std::string& one : defaults->effective) {
    EXPECT_THAT(section,
                HasSubstr("\n  " + one.substr(0, one.find('=')) + ":"));
  }
}

TEST(InferenceConfigTest, FoldersComeFromDataFolderAndEnvironment) {
  const auto config = Load("", {{"CAMHERD_WEIGHTS_DIR", "/weights"}});
  CAMHERD_ASSERT_OK(config);
  EXPECT_EQ(config->registry.weights_dir, "/weights");
  EXPECT_EQ(config->engines.environment.venvs_dir, "/data/venvs");
  EXPECT_EQ(config->engines.cache_dir, "/data/model_cache");
}

TEST(InferenceConfigTest, TheShippedFileLeavesTheWeightsToTheEnvironment) {
  const auto config = Load(CAMHERD_SOURCE_DIR "/deploy/config/camherd.yaml",
                           {{"CAMHERD_WEIGHTS_DIR", "/weights"}});
  CAMHERD_ASSERT_OK(config);
  EXPECT_EQ(config->registry.weights_dir, "/weights");
}

TEST(InferenceConfigTest, ABadValueNamesKeyValueAndLine) {
  const TempDir dir;
  EXPECT_THAT(Load(dir.Write("c.yaml",
                             "inference:\n  listen: 127.0.0.1:1\n"
                             "  workers_per_model: 99\n")),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("workers_per_model"), HasSubstr("99"),
                             HasSubstr("c.yaml:3"))));
}

}  // namespace
}  // namespace camherd::inference
