#include "services/capture/address_policy.h"

#include <netdb.h>
#include <signal.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/synchronization/mutex.h"
#include "services/common/status_macros.h"

namespace camherd::capture {
namespace {

// The first `bits` bits of both are the same. REQUIRES: same family.
bool SamePrefix(const std::vector<uint8_t>& a, const std::vector<uint8_t>& b,
                int bits) {
  const size_t whole = static_cast<size_t>(bits) / 8;
  if (!std::equal(a.begin(), a.begin() + static_cast<long>(whole), b.begin())) {
    return false;
  }
  const int rest = bits % 8;
  if (rest == 0) return true;
  return (a[whole] ^ b[whole]) >> (8 - rest) == 0;
}

struct Special {
  const char* network;
  int prefix_bits;
  const char* name;
};

constexpr Special kMetadata[] = {
    {"169.254.169.254", 32, "a cloud metadata address"},
    {"fd00:ec2::254", 128, "a cloud metadata address"},
};

constexpr Special kLoopback[] = {
    {"127.0.0.0", 8, "a loopback address"},
    {"::1", 128, "a loopback address"},
};

constexpr Special kReserved[] = {
    {"0.0.0.0", 8, "an unspecified address"},
    {"169.254.0.0", 16, "a link-local address"},
    {"224.0.0.0", 4, "a multicast address"},
    {"255.255.255.255", 32, "a broadcast address"},
    {"::", 128, "an unspecified address"},
    {"fe80::", 10, "a link-local address"},
    {"fec0::", 10, "a site-local address"},
    {"ff00::", 8, "a multicast address"},
};

template <size_t kCount>
const char* NameIn(const Special (&specials)[kCount],
                   const IpAddress& address) {
  for (const Special& special : specials) {
    const absl::StatusOr<IpAddress> network = IpAddress::Parse(special.network);
    if (network.ok() && network->is_v4() == address.is_v4() &&
        SamePrefix(network->bytes(), address.bytes(), special.prefix_bits)) {
      return special.name;
    }
  }
  return nullptr;
}

// A look-up that may outlive the one who asked: the resolver cannot be
// interrupted. Ended ones are freed by the next.
struct Lookup {
  std::string host;
  addrinfo hints = {};
  gaicb request = {};

  ~Lookup() {
    if (request.ar_result != nullptr) freeaddrinfo(request.ar_result);
  }
};

class AbandonedLookups {
 public:
  void Add(std::unique_ptr<Lookup> lookup) {
    absl::MutexLock lock(&mu_);
    Sweep();
    lookups_.push_back(std::move(lookup));
  }

 private:
  void Sweep() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    std::vector<std::unique_ptr<Lookup>> kept;
    for (std::unique_ptr<Lookup>& lookup : lookups_) {
      if (gai_error(&lookup->request) == EAI_INPROGRESS) {
        kept.push_back(std::move(lookup));
      }
    }
    lookups_ = std::move(kept);
  }

  absl::Mutex mu_;
  std::vector<std::unique_ptr<Lookup>> lookups_ ABSL_GUARDED_BY(mu_);
};

AbandonedLookups& Abandoned() {
  // Never destroyed: the resolver's threads may still write into it.
  static AbandonedLookups& lookups = *new AbandonedLookups;
  return lookups;
}

absl::StatusOr<IpAddress> Choose(const std::string& host, const addrinfo* found,
                                 const AddressPolicy& policy) {
  const addrinfo* chosen = nullptr;
  for (const addrinfo* a = found; a != nullptr; a = a->ai_next) {
    if (a->ai_family != AF_INET && a->ai_family != AF_INET6) continue;
    CAMHERD_RETURN_IF_ERROR(policy.Check(IpAddress::FromSockaddr(a->ai_addr)));
    if (chosen == nullptr ||
        (a->ai_family == AF_INET && chosen->ai_family == AF_INET6)) {
      chosen = a;
    }
  }
  if (chosen == nullptr) {
    return absl::UnavailableError(
        absl::StrCat("the host ", host, " has no address"));
  }
  return IpAddress::FromSockaddr(chosen->ai_addr);
}

absl::Status LookupError(const std::string& host, int error) {
  return absl::UnavailableError(
      absl::StrCat("the host ", host, " is not known: ", gai_strerror(error)));
}

}  // namespace

absl::StatusOr<AddressPolicy> AddressPolicy::Create(const Options& options) {
  AddressPolicy policy;
  policy.allow_loopback_ = options.allow_loopback;
  for (const std::string& text : options.allow_networks) {
    const auto error = [&] {
      return absl::InvalidArgumentError(absl::StrCat(
          "allow_networks must hold networks such as 169.254.10.0/24, got `",
          text, "`"));
    };
    const std::pair<std::string, std::string> parts =
        absl::StrSplit(text, absl::MaxSplits('/', 1));
    Network network;
    const absl::StatusOr<IpAddress> address = IpAddress::Parse(parts.first);
    if (!address.ok()) return error();
    network.address = *address;
    const int bits = address->is_v4() ? 32 : 128;
    network.prefix_bits = bits;
    if (absl::StrContains(text, '/') &&
        (!absl::SimpleAtoi(parts.second, &network.prefix_bits) ||
         network.prefix_bits < 0 || network.prefix_bits > bits)) {
      return error();
    }
    policy.allowed_.push_back(std::move(network));
  }
  return policy;
}

absl::Status AddressPolicy::Check(const IpAddress& address) const {
  if (const char* name = NameIn(kMetadata, address)) {
    return absl::PermissionDeniedError(
        absl::StrCat(address.ToString(), " is ", name,
                     ": cameras are never looked for there"));
  }
  if (Allowed(address)) return absl::OkStatus();
  const char* name = NameIn(kReserved, address);
  if (name == nullptr && !allow_loopback_) name = NameIn(kLoopback, address);
  if (name == nullptr) return absl::OkStatus();
  return absl::PermissionDeniedError(absl::StrCat(
      address.ToString(), " is ", name,
      ", which capture.allow_networks does not allow for cameras"));
}

bool AddressPolicy::Allowed(const IpAddress& address) const {
  for (const Network& network : allowed_) {
    if (network.address.is_v4() == address.is_v4() &&
        SamePrefix(network.address.bytes(), address.bytes(),
                   network.prefix_bits)) {
      return true;
    }
  }
  return false;
}

absl::StatusOr<IpAddress> ResolveHost(const std::string& host,
                                      const AddressPolicy& policy,
                                      absl::Duration deadline, Clock& clock,
                                      const std::function<bool()>& cancelled) {
  auto lookup = std::make_unique<Lookup>();
  lookup->host = host;
  lookup->hints.ai_socktype = SOCK_STREAM;
  lookup->hints.ai_flags = AI_NUMERICHOST;
  addrinfo* numeric = nullptr;
  if (getaddrinfo(host.c_str(), nullptr, &lookup->hints, &numeric) == 0) {
    const absl::StatusOr<IpAddress> chosen = Choose(host, numeric, policy);
    freeaddrinfo(numeric);
    return chosen;
  }
  lookup->hints.ai_flags = 0;
  lookup->request.ar_name = lookup->host.c_str();
  lookup->request.ar_request = &lookup->hints;
  gaicb* requests[] = {&lookup->request};
  sigevent no_event = {};
  no_event.sigev_notify = SIGEV_NONE;
  int error = getaddrinfo_a(GAI_NOWAIT, requests, 1, &no_event);
  if (error != 0) return LookupError(host, error);
  absl::Status gave_up;
  while (gai_error(&lookup->request) == EAI_INPROGRESS) {
    if (cancelled()) {
      gave_up = absl::CancelledError("cancelled");
    } else if (clock.SteadyNow() >= deadline) {
      gave_up = absl::DeadlineExceededError(absl::StrCat(
          "the name of the host ", host, " could not be looked up in time"));
    }
    if (!gave_up.ok()) {
      if (gai_cancel(&lookup->request) == EAI_NOTCANCELED) {
        Abandoned().Add(std::move(lookup));
      }
      return gave_up;
    }
    const timespec pause = absl::ToTimespec(absl::Milliseconds(100));
    const gaicb* const waiting[] = {&lookup->request};
    gai_suspend(waiting, 1, &pause);
  }
  error = gai_error(&lookup->request);
  if (error != 0) return LookupError(host, error);
  return Choose(host, lookup->request.ar_result, policy);
}

}  // namespace camherd::capture
