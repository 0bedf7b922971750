// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace prometheus {
class Registry;
class Collectable;
class Exposer;
}  // namespace prometheus

namespace camherd {

// Serves /metrics of one registry on an internal address.
//
// The registry outlives the exporter's users, since both live in main; it
// already holds camherd_build_info. Thread-safe.
class MetricsExporter {
 public:
  // `address` is host:port, port 0 for any; empty: metrics are collected but
  // not served. kUnavailable: the address cannot be bound.
  static absl::StatusOr<std::unique_ptr<MetricsExporter>> Create(
      const std::string& address);
  ~MetricsExporter();

  // shared_ptr since prometheus-cpp's exposer holds its collectables weakly.
  const std::shared_ptr<prometheus::Registry>& registry() const {
    return registry_;
  }

  // Also serves what `collectable` answers at each scrape. It must live as
  // long as the exporter.
  void AddCollectable(
      const std::shared_ptr<prometheus::Collectable>& collectable);

  // camherd_audit_lines_total{result}: what AuditLog is to call for each line.
  // The exporter must outlive it.
  std::function<void(bool written)> AuditCounter();

  // host:port it listens on; empty where it does not.
  const std::string& address() const { return address_; }

 private:
  MetricsExporter();

  std::shared_ptr<prometheus::Registry> registry_;
  std::unique_ptr<prometheus::Exposer> exposer_;
  std::string address_;
};

}  // namespace camherd
