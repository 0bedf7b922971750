// SPDX-License-Identifier: Apache-2.0
#include "services/capture/capture_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "services/common/file.h"
#include "tests/support/status_matchers.h"
#include "tests/unit/capture/supervisor_testbed.h"

namespace camherd::capture {
namespace {

using ::camherd::testing::IsOk;
using ::camherd::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

absl::StatusOr<CaptureConfig> Load(
    const std::string& yaml, const YamlConfig::Environment& environment = {}) {
  const testing::TempDir dir;
  const std::string path = dir.path() + "/camherd.yaml";
  EXPECT_THAT(WriteFileAtomically(path, yaml, Sync::kNone), IsOk());
  const auto config = YamlConfig::Load(path, environment);
  EXPECT_THAT(config, IsOk());
  return LoadCaptureConfig(*config, "/data");
}

TEST(CaptureConfigTest, HasTheDocumentsDefaults) {
  const auto config = Load("capture: {}\n");
  ASSERT_THAT(config, IsOk());
  EXPECT_EQ(config->listen, "127.0.0.1:50051");
  EXPECT_EQ(config->metrics_listen, "127.0.0.1:50061");
  EXPECT_EQ(config->supervisor.defaults.interval_seconds, 3);
  EXPECT_EQ(config->supervisor.defaults.batch_size, 10);
  EXPECT_EQ(config->workers.worker.config.jpeg_quality(), 85);
  EXPECT_FALSE(config->supervisor.session.node_id.empty());
  EXPECT_TRUE(config->store.sync);
}

TEST(CaptureConfigTest, TheEnvironmentOverrides) {
  const auto config = Load("capture:\n  interval_seconds: 5\n",
                           {{"CAMHERD_CAPTURE_INTERVAL_SECONDS", "1"}});
  ASSERT_THAT(config, IsOk());
  EXPECT_EQ(config->supervisor.defaults.interval_seconds, 1);
}

TEST(CaptureConfigTest, ABadValueIsNamedWithItsLine) {
  EXPECT_THAT(Load("capture:\n  listen: 127.0.0.1:0\n  batch_size: 65\n"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("batch_size"), HasSubstr("65"),
                             HasSubstr(":3"))));
  EXPECT_THAT(Load("capture:\n  allow_networks: [10.0.0.0/40]\n"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("allow_networks")));
}

TEST(CaptureConfigTest, AFileOfCertificatesMustBeThere) {
  EXPECT_THAT(Load("capture:\n  tls_ca_file: /no/such/file\n"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("tls_ca_file"), HasSubstr(":2"))));
  EXPECT_THAT(Load("capture:\n  tls_ca_file: /etc/hostname\n"), IsOk());
}

TEST(CaptureConfigTest, AProbeIsAsPatientAsAStreamButNotMore) {
  const auto defaults = Load("capture: {}\n");
  ASSERT_THAT(defaults, IsOk());
  EXPECT_EQ(defaults->probe.connect_timeout, absl::Seconds(10));
  EXPECT_EQ(defaults->probe.pictures_timeout, absl::Seconds(20));
  EXPECT_EQ(defaults->probe.stall_timeout, absl::Seconds(10));
  EXPECT_EQ(defaults->probe.interval, absl::Seconds(3));
  EXPECT_EQ(defaults->max_probes, 4);
  const auto other = Load(
      "capture:\n  connect_timeout_seconds: 2\n  stall_timeout_seconds: 1\n"
      "  interval_seconds: 7\n  condition_dark_below: 30\n"
      "  probe_pictures_seconds: 5\n  max_probes: 1\n");
  ASSERT_THAT(other, IsOk());
  EXPECT_EQ(other->probe.connect_timeout, absl::Seconds(2));
  EXPECT_EQ(other->probe.pictures_timeout, absl::Seconds(5));
  EXPECT_EQ(other->probe.stall_timeout, absl::Seconds(1));
  EXPECT_EQ(other->probe.interval, absl::Seconds(7));
  EXPECT_EQ(other->probe.condition.dark_below, 30);
  EXPECT_EQ(other->max_probes, 1);
}

TEST(CaptureConfigTest, AFullDiskIsNoMoreThanALowOne) {
  const auto config = Load(
      "capture:\n  low_disk_bytes: 2MiB\n  full_disk_bytes: 1MiB\n"
      "  spool_widen_above: 0.75\n");
  ASSERT_THAT(config, IsOk());
  EXPECT_EQ(config->supervisor.spool.low_disk_bytes, 2 << 20);
  EXPECT_EQ(config->supervisor.spool.full_disk_bytes, 1 << 20);
  EXPECT_EQ(config->supervisor.spool.widen_above, 0.75);
  EXPECT_THAT(Load("capture:\n  low_disk_bytes: 1MiB\n"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("at most low_disk_bytes")));
}

TEST(CaptureConfigTest, AnUnknownKeyStopsTheStart) {
  EXPECT_THAT(
      Load("capture:\n  batchsize: 10\n"),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("batchsize")));
}

TEST(CaptureConfigTest, LoopbackCamerasNeedALoopbackGateway) {
  EXPECT_TRUE(Load("capture: {}\n")->allow_loopback);
  EXPECT_TRUE(Load("gateway:\n  listen: [\"127.0.0.1:5000\", \"[::1]:8000\"]\n")
                  ->allow_loopback);
  EXPECT_FALSE(
      Load("gateway:\n  listen: [\"localhost:5000\", \"0.0.0.0:8000\"]\n")
          ->allow_loopback);
}

}  // namespace
}  // namespace camherd::capture
