// SPDX-License-Identifier: Apache-2.0
#include "services/common/metrics_exporter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <prometheus/collectable.h>
#include <prometheus/counter.h>
#include <prometheus/registry.h>

#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "services/common/clock.h"
#include "tests/integration/common/http_get.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace camherd {
namespace {

using ::camherd::testing::HttpGet;
using ::camherd::testing::StatusIs;
using ::testing::AllOf;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::MatchesRegex;
using ::testing::Not;
using ::testing::StartsWith;

TEST(MetricsExporterTest, ServesItsRegistryAndTheBuildOnAFreePort) {
  const auto exporter = MetricsExporter::Create("127.0.0.1:0");
  CAMHERD_ASSERT_OK(exporter);
  EXPECT_THAT((*exporter)->address(), MatchesRegex("127.0.0.1:[1-9][0-9]*"));
  prometheus::BuildCounter()
      .Name("camherd_test_events_total")
      .Help("Events of this test")
      .Register(*(*exporter)->registry())
      .Add({})
      .Increment(3);
  const std::string answer = HttpGet((*exporter)->address(), "/metrics");
  EXPECT_THAT(answer, AllOf(StartsWith("HTTP/1.1 200"),
                            HasSubstr("version=\"" CAMHERD_VERSION "\""),
                            HasSubstr("camherd_test_events_total 3")));
  EXPECT_THAT(answer,
              ContainsRegex("camherd_build_info\\{[^}]*commit=\"[0-9a-z]+\""));
}

// The value of `name`, which has no labels.
double ValueOf(const std::string& name, const std::string& exposition) {
  const size_t at = exposition.find(absl::StrCat("\n", name, " "));
  if (at == std::string::npos) return -1;
  return std::atof(exposition.c_str() + at + name.size() + 2);
}

TEST(MetricsExporterTest, IsReadyOnceToldSo) {
  const auto exporter = MetricsExporter::Create("");
  CAMHERD_ASSERT_OK(exporter);
  EXPECT_EQ(ValueOf("camherd_ready", (*exporter)->Exposition()), 0);
  (*exporter)->SetReady(true);
  EXPECT_EQ(ValueOf("camherd_ready", (*exporter)->Exposition()), 1);
  (*exporter)->SetReady(false);
  EXPECT_EQ(ValueOf("camherd_ready", (*exporter)->Exposition()), 0);
}

TEST(MetricsExporterTest, TellsOfTheProcess) {
  const absl::Time before = Clock::Real().Now() - absl::Seconds(1);
  const auto exporter = MetricsExporter::Create("127.0.0.1:0");
  CAMHERD_ASSERT_OK(exporter);
  const std::string served = HttpGet((*exporter)->address(), "/metrics");
  const std::string text = (*exporter)->Exposition();
  for (const std::string& exposition : {served, text}) {
    EXPECT_GT(ValueOf("camherd_process_start_timestamp_seconds", exposition),
              absl::ToUnixSeconds(before));
    EXPECT_GT(ValueOf("camherd_process_cpu_seconds_total", exposition), 0);
    EXPECT_GT(ValueOf("camherd_process_resident_bytes", exposition), 1 << 20);
    EXPECT_GE(ValueOf("camherd_process_threads", exposition), 1);
    EXPECT_GE(ValueOf("camherd_process_open_files", exposition), 3);
    EXPECT_GT(ValueOf("camherd_process_open_files_limit", exposition), 3);
  }
}

TEST(MetricsExporterTest, SaysWhenTheCertificateEndsAsTheFileIsNow) {
  const testing::TempDir folder;
  const std::string file = folder.path() + "/certificate.pem";
  const auto exporter = MetricsExporter::Create("");
  CAMHERD_ASSERT_OK(exporter);
  (*exporter)->WatchCertificate(file);
  constexpr char kName[] = "camherd_grpc_certificate_expiry_timestamp_seconds";
  EXPECT_EQ(ValueOf(kName, (*exporter)->Exposition()), 0);
  const double now =
      static_cast<double>(absl::ToUnixSeconds(Clock::Real().Now()));
  for (const int days : {2, 5}) {
    const std::string command = absl::StrCat(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes "
        "-subj /CN=test -keyout ",
        folder.path(), "/key.pem -out ", file, " -days ", days, " 2>/dev/null");
    ASSERT_EQ(std::system(command.c_str()), 0);
    EXPECT_NEAR(ValueOf(kName, (*exporter)->Exposition()), now + days * 86400,
                60);
  }
}

class Snapshot : public prometheus::Collectable {
 public:
  std::vector<prometheus::MetricFamily> Collect() const override {
    prometheus::MetricFamily family;
    family.name = "camherd_snapshot_frames";
    family.type = prometheus::MetricType::Gauge;
    prometheus::ClientMetric metric;
    metric.gauge.value = ++scrapes_;
    family.metric.push_back(metric);
    return {family};
  }

 private:
  mutable int scrapes_ = 0;
};

TEST(MetricsExporterTest, AsksACollectableAtEachScrape) {
  const auto exporter = MetricsExporter::Create("127.0.0.1:0");
  CAMHERD_ASSERT_OK(exporter);
  const auto snapshot = std::make_shared<Snapshot>();
  (*exporter)->AddCollectable(snapshot);
  EXPECT_THAT(HttpGet((*exporter)->address(), "/metrics"),
              HasSubstr("camherd_snapshot_frames 1"));
  EXPECT_THAT(HttpGet((*exporter)->address(), "/metrics"),
              HasSubstr("camherd_snapshot_frames 2"));
}

TEST(MetricsExporterTest, AnsweredPathsAreMetricsOnly) {
  const auto exporter = MetricsExporter::Create("127.0.0.1:0");
  CAMHERD_ASSERT_OK(exporter);
  EXPECT_THAT(HttpGet((*exporter)->address(), "/etc/passwd"),
              AllOf(StartsWith("HTTP/1.1 404"), Not(HasSubstr("root:"))));
}

TEST(MetricsExporterTest, WithoutAnAddressMetricsAreCollectedAndNotServed) {
  const auto exporter = MetricsExporter::Create("");
  CAMHERD_ASSERT_OK(exporter);
  EXPECT_THAT((*exporter)->address(), IsEmpty());
  EXPECT_EQ((*exporter)->registry()->Collect().size(), 2u);
  (*exporter)->AddCollectable(std::make_shared<Snapshot>());
}

TEST(MetricsExporterTest, AnAddressThatCannotBeBoundIsUnavailable) {
  const auto first = MetricsExporter::Create("127.0.0.1:0");
  CAMHERD_ASSERT_OK(first);
  for (const std::string& address :
       {(*first)->address(), std::string("192.0.2.1:0")}) {
    EXPECT_THAT(MetricsExporter::Create(address),
                StatusIs(absl::StatusCode::kUnavailable, HasSubstr(address)));
  }
}

TEST(MetricsExporterTest, AnAddressThatIsNoneIsRefused) {
  for (const char* address : {"50061", ":50061", "h:", "h:x", "127.0.0.1:x",
                              "127.0.0.1:70000", "0:80,90"}) {
    EXPECT_THAT(MetricsExporter::Create(address),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         HasSubstr("must be host:port")))
        << address;
  }
}

TEST(MetricsExporterTest, TakesLocalhostAndIpv6) {
  const auto local = MetricsExporter::Create("localhost:0");
  CAMHERD_ASSERT_OK(local);
  EXPECT_THAT(HttpGet((*local)->address(), "/metrics"),
              HasSubstr("camherd_build_info"));
  const auto six = MetricsExporter::Create("[::1]:0");
  if (six.ok()) {
    EXPECT_THAT((*six)->address(), StartsWith("[::1]:"));
  }
}

}  // namespace
}  // namespace camherd
