// SPDX-License-Identifier: Apache-2.0
#include "services/capture/address_policy.h"

#include <netdb.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/synchronization/mutex.h"
#include "services/common/status_macros.h"
#include "services/common/steady_mutex.h"

namespace camherd::capture {
namespace {

// How often a look-up asks whether it is still wanted.
constexpr absl::Duration kLookupPoll = absl::Milliseconds(100);

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

// A look-up on a thread of its own: the resolver cannot be interrupted, so it
// may outlive the one who asked. (getaddrinfo_a would do, but its threads are
// the C library's own, which ThreadSanitizer does not survive.)
class Lookup {
 public:
  explicit Lookup(const std::string& host)
      : host_(host), thread_([this] { Run(); }) {}
  ~Lookup() {
    thread_.join();
    if (result_ != nullptr) freeaddrinfo(result_);
  }

  Lookup(const Lookup&) = delete;
  Lookup& operator=(const Lookup&) = delete;

  // True once there is an answer, at the latest after `timeout`.
  bool WaitFor(absl::Duration timeout) {
    SteadyMutex::Holder lock(&mu_);
    const auto done = [this] {
      mu_.AssertHeld();
      return done_;
    };
    return mu_.AwaitFor(done, timeout);
  }
  // REQUIRES: there is an answer.
  int error() const { return error_; }
  const addrinfo* result() const { return result_; }

 private:
  void Run() {
    addrinfo hints = {};
    hints.ai_socktype = SOCK_STREAM;
    error_ = getaddrinfo(host_.c_str(), nullptr, &hints, &result_);
    SteadyMutex::Holder lock(&mu_);
    done_ = true;
  }

  const std::string host_;
  int error_ = 0;
  addrinfo* result_ = nullptr;
  SteadyMutex mu_;
  bool done_ ABSL_GUARDED_BY(mu_) = false;
  // Last, since it uses all of the above.
  std::thread thread_;
};

// Look-ups nobody waits for any more; ended ones are freed with the next.
class AbandonedLookups {
 public:
  void Add(std::unique_ptr<Lookup> lookup) {
    absl::MutexLock lock(&mu_);
    lookups_.erase(std::remove_if(lookups_.begin(), lookups_.end(),
                                  [](const std::unique_ptr<Lookup>& l) {
                                    return l->WaitFor(absl::ZeroDuration());
                                  }),
                   lookups_.end());
    lookups_.push_back(std::move(lookup));
  }

 private:
  absl::Mutex mu_;
  std::vector<std::unique_ptr<Lookup>> lookups_ ABSL_GUARDED_BY(mu_);
};

AbandonedLookups& Abandoned() {
  // Never destroyed: a resolver that hangs must not hold up the exit.
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
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICHOST;
  addrinfo* numeric = nullptr;
  if (getaddrinfo(host.c_str(), nullptr, &hints, &numeric) == 0) {
    const absl::StatusOr<IpAddress> chosen = Choose(host, numeric, policy);
    freeaddrinfo(numeric);
    return chosen;
  }
  auto lookup = std::make_unique<Lookup>(host);
  while (!lookup->WaitFor(kLookupPoll)) {
    absl::Status gave_up;
    if (cancelled()) {
      gave_up = absl::CancelledError("cancelled");
    } else if (clock.SteadyNow() >= deadline) {
      gave_up = absl::DeadlineExceededError(absl::StrCat(
          "the name of the host ", host, " could not be looked up in time"));
    } else {
      continue;
    }
    Abandoned().Add(std::move(lookup));
    return gave_up;
  }
  if (lookup->error() != 0) return LookupError(host, lookup->error());
  return Choose(host, lookup->result(), policy);
}

}  // namespace camherd::capture
