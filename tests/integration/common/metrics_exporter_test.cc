// SPDX-License-Identifier: Apache-2.0
#include "services/common/metrics_exporter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <prometheus/collectable.h>
#include <prometheus/counter.h>
#include <prometheus/registry.h>

#include <memory>
#include <string>
#include <vector>

#include "tests/integration/common/http_get.h"
#include "tests/support/status_matchers.h"

namespace camherd {
namespace {

using ::camherd::testing::HttpGet;
using ::camherd::testing::StatusIs;
using ::testing::AllOf;
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
  EXPECT_THAT(
      answer,
      AllOf(StartsWith("HTTP/1.1 200"),
            HasSubstr("camherd_build_info{version=\"" CAMHERD_VERSION "\"} 1"),
            HasSubstr("camherd_test_events_total 3")));
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
  EXPECT_EQ((*exporter)->registry()->Collect().size(), 1u);
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
