// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace prometheus {
class Registry;
class Collectable;
class Exposer;
class Gauge;
}  // namespace prometheus

namespace camherd {

// Serves /metrics of one registry on an internal address, and with it what all
// services have: camherd_build_info, camherd_ready, camherd_process_*.
//
// The registry outlives the exporter's users, since both live in main.
// Thread-safe but for AddCollectable, which main calls at the start.
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

  // camherd_ready: 0 until this says otherwise.
  void SetReady(bool ready);

  // camherd_grpc_certificate_expiry_timestamp_seconds: when the first
  // certificate of the PEM file ends, read at each scrape; 0: it has none.
  void WatchCertificate(const std::string& file);

  // All of it in the Prometheus text format.
  std::string Exposition() const;

  // host:port it listens on; empty where it does not.
  const std::string& address() const { return address_; }

 private:
  MetricsExporter();

  std::shared_ptr<prometheus::Registry> registry_;
  prometheus::Gauge& ready_;
  // shared_ptr, as above.
  std::vector<std::shared_ptr<prometheus::Collectable>> collectables_;
  std::unique_ptr<prometheus::Exposer> exposer_;
  std::string address_;
};

}  // namespace camherd
