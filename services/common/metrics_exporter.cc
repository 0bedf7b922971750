#include "services/common/metrics_exporter.h"

#include <prometheus/exposer.h>
#include <prometheus/gauge.h>
#include <prometheus/registry.h>

#include <exception>
#include <vector>

#include "absl/strings/str_cat.h"

namespace camherd {

MetricsExporter::MetricsExporter()
    : registry_(std::make_shared<prometheus::Registry>()) {
  prometheus::BuildGauge()
      .Name("camherd_build_info")
      .Help("1, labelled by the version that runs")
      .Register(*registry_)
      .Add({{"version", CAMHERD_VERSION}})
      .Set(1);
}

MetricsExporter::~MetricsExporter() = default;

absl::StatusOr<std::unique_ptr<MetricsExporter>> MetricsExporter::Create(
    const std::string& address) {
  std::unique_ptr<MetricsExporter> exporter(new MetricsExporter);
  if (address.empty()) return exporter;
  const size_t colon = address.rfind(':');
  if (colon == std::string::npos || colon == 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the metrics address must be host:port, got \"", address, "\""));
  }
  std::string host = address.substr(0, colon);
  // civetweb binds addresses, not names.
  if (host == "localhost") host = "127.0.0.1";
  const std::string bind_address =
      absl::StrCat(host, ":", address.substr(colon + 1));
  try {
    exporter->exposer_ = std::make_unique<prometheus::Exposer>(bind_address);
    exporter->exposer_->RegisterCollectable(exporter->registry_);
    const std::vector<int> ports = exporter->exposer_->GetListeningPorts();
    if (ports.empty()) {
      return absl::UnavailableError(
          absl::StrCat("cannot serve metrics on ", address));
    }
    exporter->address_ = absl::StrCat(host, ":", ports.front());
  } catch (const std::exception&) {
    return absl::UnavailableError(
        absl::StrCat("cannot serve metrics on ", address,
                     ": the address is not free or not of this machine"));
  }
  return exporter;
}

void MetricsExporter::AddCollectable(
    const std::shared_ptr<prometheus::Collectable>& collectable) {
  if (exposer_ != nullptr) exposer_->RegisterCollectable(collectable);
}

}  // namespace camherd
