// SPDX-License-Identifier: Apache-2.0
#include "services/aggregator/aggregator_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"
#include "tests/unit/aggregator/aggregator_testing.h"

namespace camherd::aggregator {
namespace {

using ::camherd::testing::IsOk;
using ::camherd::testing::StatusIs;
using ::camherd::testing::TempDir;
using ::testing::AllOf;
using ::testing::HasSubstr;

absl::StatusOr<AggregatorConfig> Load(const std::string& yaml) {
  TempDir dir;
  testing::WriteText(dir / "camherd.yaml", yaml);
  auto config = YamlConfig::Load(dir / "camherd.yaml", {});
  if (!config.ok()) return config.status();
  ConfigSection section = config->Section("aggregator");
  return LoadAggregatorConfig(section, "/data");
}

TEST(AggregatorConfigTest, HasDocumentedDefaults) {
  const auto config = Load("{}");
  ASSERT_THAT(config, IsOk());
  EXPECT_EQ(config->listen, "127.0.0.1:50053");
  EXPECT_EQ(config->metrics_listen, "127.0.0.1:50063");
  EXPECT_EQ(config->camera_csv, "/data/camera_data.csv");
  EXPECT_TRUE(config->predictions_file);
  EXPECT_FALSE(config->per_frame_records);
  EXPECT_EQ(config->timezone, absl::LocalTimeZone());
}

TEST(AggregatorConfigTest, TheShippedFileIsTheDefaults) {
  auto yaml = YamlConfig::Load(CAMHERD_CONFIG, {});
  ASSERT_THAT(yaml, IsOk());
  ConfigSection section = yaml->Section("aggregator");
  const auto shipped = LoadAggregatorConfig(section, "/data");
  ASSERT_THAT(shipped, IsOk());
  auto none = YamlConfig::Load("", {});
  ASSERT_THAT(none, IsOk());
  ConfigSection empty = none->Section("aggregator");
  ASSERT_THAT(LoadAggregatorConfig(empty, "/data"), IsOk());
  EXPECT_EQ(section.effective(), empty.effective());
}

TEST(AggregatorConfigTest, ABadTimeZoneIsNamedWithItsLine) {
  EXPECT_THAT(Load("aggregator:\n  timezone: Mars/Base\n"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("timezone"), HasSubstr("Mars/Base"),
                             HasSubstr(":2"))));
}

TEST(AggregatorConfigTest, TheReserveIsNotAboveTheWatermark) {
  EXPECT_THAT(Load("aggregator:\n  low_disk_bytes: 1MiB\n"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("full_disk_bytes")));
}

TEST(AggregatorConfigTest, RetentionIsOffAndInfiniteUnlessSet) {
  const auto config = Load("{}");
  ASSERT_THAT(config, IsOk());
  EXPECT_EQ(config->predictions_rotate_bytes, 0);
  EXPECT_EQ(config->retention_age, absl::InfiniteDuration());
  EXPECT_EQ(config->retention_bytes, 0);
  EXPECT_EQ(Load("aggregator:\n  retention_seconds: 86400\n")->retention_age,
            absl::Hours(24));
}

TEST(AggregatorConfigTest, RetentionLeavesRoomForTheLogOfTheDatabase) {
  EXPECT_THAT(Load("aggregator:\n  retention_bytes: 63MiB\n"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("at least 64 MiB")));
}

TEST(AggregatorConfigTest, RetentionByBytesNeedsRotation) {
  for (const char* rotate : {"0", "300MiB"}) {
    EXPECT_THAT(Load(absl::StrCat("aggregator:\n  retention_bytes: 1GiB\n"
                                  "  predictions_rotate_bytes: ",
                                  rotate, "\n")),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         AllOf(HasSubstr("retention_bytes"),
                               HasSubstr("predictions_rotate_bytes"))));
  }
  EXPECT_THAT(Load("aggregator:\n  retention_bytes: 1GiB\n"
                   "  predictions_rotate_bytes: 256MiB\n"),
              IsOk());
  EXPECT_THAT(Load("aggregator:\n  retention_bytes: 1GiB\n"
                   "  predictions_file: false\n"),
              IsOk());
}

TEST(AggregatorConfigTest, AnUnknownKeyIsAnError) {
  EXPECT_THAT(
      Load("aggregator:\n  per_frame: true\n"),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("per_frame")));
}

}  // namespace
}  // namespace camherd::aggregator
