// SPDX-License-Identifier: Apache-2.0
#include "services/common/metrics_exporter.h"

#include <dirent.h>
#include <netdb.h>
#include <openssl/bio.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <prometheus/collectable.h>
#include <prometheus/counter.h>
#include <prometheus/exposer.h>
#include <prometheus/gauge.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <ctime>
#include <exception>
#include <fstream>
#include <iterator>
#include <thread>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "services/common/clock.h"
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

prometheus::MetricFamily One(const char* name, const char* help,
                             prometheus::MetricType type, double value) {
  prometheus::MetricFamily family;
  family.name = name;
  family.help = help;
  family.type = type;
  prometheus::ClientMetric& metric = family.metric.emplace_back();
  if (type == prometheus::MetricType::Counter) {
    metric.counter.value = value;
  } else {
    metric.gauge.value = value;
  }
  return family;
}

double CpuSeconds() {
  rusage usage = {};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) +
           static_cast<double>(time.tv_usec) * 1e-6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

double ResidentBytes() {
  std::ifstream statm("/proc/self/statm");
  int64_t size = 0;
  int64_t resident = 0;
  statm >> size >> resident;
  return static_cast<double>(resident * sysconf(_SC_PAGESIZE));
}

// Entries of a folder of /proc/self; 0: it cannot be read.
double CountEntries(const char* folder) {
  DIR* const dir = opendir(folder);
  if (dir == nullptr) return 0;
  int count = 0;
  while (const dirent* entry = readdir(dir)) {
    if (entry->d_name[0] != '.') ++count;
  }
  closedir(dir);
  return count;
}

double OpenFilesLimit() {
  rlimit limit = {};
  getrlimit(RLIMIT_NOFILE, &limit);
  return static_cast<double>(limit.rlim_cur);
}

// What the kernel knows of this process, without its children.
class ProcessCollector : public prometheus::Collectable {
 public:
  std::vector<prometheus::MetricFamily> Collect() const override {
    using prometheus::MetricType;
    return {One("camherd_process_start_timestamp_seconds",
                "When this process started, Unix time.", MetricType::Gauge,
                absl::ToDoubleSeconds(started_ - absl::UnixEpoch())),
            One("camherd_process_cpu_seconds_total",
                "CPU time of this process, user and system.",
                MetricType::Counter, CpuSeconds()),
            One("camherd_process_resident_bytes", "Resident memory.",
                MetricType::Gauge, ResidentBytes()),
            One("camherd_process_threads", "Threads.", MetricType::Gauge,
                CountEntries("/proc/self/task")),
            One("camherd_process_open_files", "Open file descriptors.",
                MetricType::Gauge, CountEntries("/proc/self/fd")),
            One("camherd_process_open_files_limit",
                "File descriptors it may have open.", MetricType::Gauge,
                OpenFilesLimit())};
  }

 private:
  const absl::Time started_ = Clock::Real().Now();
};

// When the first certificate of a PEM file ends, Unix time; 0: none there.
double CertificateExpiry(const std::string& file) {
  BIO* const bio = BIO_new_file(file.c_str(), "r");
  X509* const certificate =
      bio == nullptr ? nullptr
                     : PEM_read_bio_X509(bio, nullptr, nullptr, nullptr);
  double expiry = 0;
  std::tm end = {};
  if (certificate != nullptr &&
      ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &end) == 1) {
    expiry = static_cast<double>(timegm(&end));
  }
  X509_free(certificate);
  BIO_free(bio);
  return expiry;
}

class CertificateCollector : public prometheus::Collectable {
 public:
  explicit CertificateCollector(std::string file) : file_(std::move(file)) {}

  std::vector<prometheus::MetricFamily> Collect() const override {
    return {One("camherd_grpc_certificate_expiry_timestamp_seconds",
                "When grpc.tls_certificate_file ends, Unix time; 0: not known.",
                prometheus::MetricType::Gauge, CertificateExpiry(file_))};
  }

 private:
  const std::string file_;
};

}  // namespace

MetricsExporter::MetricsExporter()
    : registry_(std::make_shared<prometheus::Registry>()),
      ready_(prometheus::BuildGauge()
                 .Name("camherd_ready")
                 .Help("1: the service is ready, as its health check says.")
                 .Register(*registry_)
                 .Add({})) {
  prometheus::BuildGauge()
      .Name("camherd_build_info")
      .Help("1, labelled by the version that runs, and the commit it is of.")
      .Register(*registry_)
      .Add({{"version", CAMHERD_VERSION}, {"commit", CAMHERD_COMMIT}})
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
  const auto process = std::make_shared<ProcessCollector>();
  if (address.empty()) {
    exporter->AddCollectable(process);
    return exporter;
  }
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
    exporter->AddCollectable(process);
  } catch (const std::exception&) {
    return absl::UnavailableError(
        absl::StrCat("cannot serve metrics on ", address,
                     ": the address is not free or not of this machine"));
  }
  return exporter;
}

void MetricsExporter::AddCollectable(
    const std::shared_ptr<prometheus::Collectable>& collectable) {
  collectables_.push_back(collectable);
  if (exposer_ != nullptr) exposer_->RegisterCollectable(collectable);
}

void MetricsExporter::SetReady(bool ready) { ready_.Set(ready ? 1 : 0); }

void MetricsExporter::WatchCertificate(const std::string& file) {
  AddCollectable(std::make_shared<CertificateCollector>(file));
}

std::string MetricsExporter::Exposition() const {
  std::vector<prometheus::MetricFamily> families = registry_->Collect();
  for (const auto& collectable : collectables_) {
    std::vector<prometheus::MetricFamily> more = collectable->Collect();
    std::move(more.begin(), more.end(), std::back_inserter(families));
  }
  return prometheus::TextSerializer().Serialize(families);
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
