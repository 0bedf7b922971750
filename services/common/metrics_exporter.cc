// SPDX-License-Identifier: Apache-2.0
#include "services/common/metrics_exporter.h"

#include <netdb.h>
#include <prometheus/counter.h>
#include <prometheus/exposer.h>
#include <prometheus/gauge.h>
#include <prometheus/registry.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdint>
#include <exception>
#include <thread>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "services/common/steady_mutex.h"

namespace camherd {
namespace {

// Connects to `address`, numeric host:port, and hangs up.
void Connect(const std::string& address) {
  const size_t colon = address.rfind(':');
  std::string host = address.substr(0, colon);
  if (host.front() == '[') host = host.substr(1, host.size() - 2);
  addrinfo hints = {};
  hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (getaddrinfo(host.c_str(), address.substr(colon + 1).c_str(), &hints,
                  &found) != 0) {
    return;
  }
  const int fd =
      socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd >= 0) {
    // Refused once nobody listens any more, which is as good.
    (void)connect(fd, found->ai_addr, found->ai_addrlen);
    close(fd);
  }
  freeaddrinfo(found);
}

}  // namespace

MetricsExporter::MetricsExporter()
    : registry_(std::make_shared<prometheus::Registry>()) {
  prometheus::BuildGauge()
      .Name("camherd_build_info")
      .Help("1, labelled by the version that runs")
      .Register(*registry_)
      .Add({{"version", CAMHERD_VERSION}})
      .Set(1);
}

MetricsExporter::~MetricsExporter() {
  if (exposer_ == nullptr) return;
  // civetweb looks at its stop flag every two seconds, and whenever somebody
  // connects.
  SteadyMutex mu;
  bool stopped = false;
  std::thread waker([this, &mu, &stopped] {
    SteadyMutex::Holder lock(&mu);
    do {
      Connect(address_);
    } while (
        !mu.AwaitFor([&stopped] { return stopped; }, absl::Milliseconds(10)));
  });
  exposer_.reset();
  {
    SteadyMutex::Holder lock(&mu);
    stopped = true;
  }
  waker.join();
}

absl::StatusOr<std::unique_ptr<MetricsExporter>> MetricsExporter::Create(
    const std::string& address) {
  std::unique_ptr<MetricsExporter> exporter(new MetricsExporter);
  if (address.empty()) return exporter;
  const size_t colon = address.rfind(':');
  uint32_t port = 0;
  // civetweb would take lists and options in its ports.
  if (colon == std::string::npos || colon == 0 ||
      address.find(',') != std::string::npos ||
      !absl::SimpleAtoi(address.substr(colon + 1), &port) || port > 65535) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the metrics address must be host:port, got \"", address, "\""));
  }
  std::string host = address.substr(0, colon);
  // civetweb binds addresses, not names.
  if (host == "localhost") host = "127.0.0.1";
  const std::string bind_address = absl::StrCat(host, ":", port);
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

std::function<void(bool written)> MetricsExporter::AuditCounter() {
  auto& family = prometheus::BuildCounter()
                     .Name("camherd_audit_lines_total")
                     .Help("Lines for the audit log, by result")
                     .Register(*registry_);
  auto& written = family.Add({{"result", "written"}});
  auto& failed = family.Add({{"result", "failed"}});
  return [&written, &failed](bool ok) { (ok ? written : failed).Increment(); };
}

}  // namespace camherd
