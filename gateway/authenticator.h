// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "gateway/caller.h"
#include "gateway/http_message.h"
#include "gateway/token_list.h"
#include "services/common/clock.h"
#include "services/common/stop_signal.h"

namespace camherd::gateway {

// Says who sent a request, by its bearer token (RFC 6750) or by the cookie of a
// login; what a caller may do is Access and BackendClients.
//
// The file of tokens is looked at again and again. One that cannot be used any
// more leaves the tokens as they were, with a warning and a metric. A token
// that is gone, expired or has another role counts at once, for its logins too.
//
// Logins are kept here, by the SHA-256 of the cookie's value: kMaxLogins for
// each token (the oldest goes), none beyond a restart.
//
// Wrong tokens are counted by address (IPv6: by /64): after kFreeFailures no
// token of that address is looked at but once every kFailureInterval; cookies
// are. One of the last that were refused there is no new guess and counts for
// nothing, so that a client whose token has expired shuts nobody out who has
// the same address. The table has kMaxAddresses; past that the longest unused
// goes.
//
// Thread-safe; never blocks but for a moment.
class Authenticator {
 public:
  struct Options {
    // False: everyone is an admin without a name.
    bool required = false;
    // May be empty.
    std::string tokens_file = {};
    // Lines as in the file.
    std::vector<std::string> tokens = {};
    absl::Duration login_lifetime = absl::Hours(12);
    // The cookie goes over TLS only, also where this server has none.
    bool secure_cookies = false;
    // Between two looks at the file.
    absl::Duration look_interval = absl::Seconds(1);
    // Called for each try to read the file anew.
    std::function<void(bool ok)> reloaded = nullptr;
  };

  static constexpr size_t kMaxLogins = 32;
  static constexpr int kFreeFailures = 10;
  static constexpr absl::Duration kFailureInterval = absl::Seconds(5);
  static constexpr size_t kMaxAddresses = 4096;
  static constexpr char kCookie[] = "camherd_session";

  // Errors of TokenList, and kInvalidArgument where tokens are required and
  // there is none. `clock` must outlive it.
  static absl::StatusOr<std::unique_ptr<Authenticator>> Create(
      const Options& options, Clock& clock);
  ~Authenticator();

  // Without token and cookie, and with a cookie that is no longer good: a
  // caller of Role::kNone. kUnauthenticated: the token is not one of ours, or
  // has expired. kResourceExhausted, with the delay: too many of those.
  absl::StatusOr<Caller> Identify(const HttpRequest& request);

  // Who the sender of a request that was identified before is now: of
  // Role::kNone if its token or login is no longer good. No guess, so what is
  // guessed from the same address changes nothing.
  Caller IdentifyAgain(const HttpRequest& request);

  struct Login {
    Caller caller;
    // The value of Set-Cookie.
    std::string cookie;
  };
  // Errors as above; kFailedPrecondition where no tokens are required.
  absl::StatusOr<Login> LogIn(const HttpRequest& request,
                              absl::string_view token);
  // Ends the login of the request's cookie; the value of Set-Cookie that
  // removes it.
  std::string LogOut(const HttpRequest& request);

  bool required() const { return options_.required; }
  // Looks at the file now.
  void Reload();

 private:
  struct Session {
    std::string token_digest;
    absl::Time expires;
    uint64_t number = 0;
  };
  struct Failures {
    int count = 0;
    // One is forgiven each kFailureInterval from here on.
    absl::Duration since = absl::ZeroDuration();
    // Digests of the last kFreeFailures that counted.
    std::deque<std::string> refused = {};
  };

  Authenticator(const Options& options, Clock& clock)
      : options_(options), clock_(clock) {}

  void Watch();
  // The token, if it is one of ours and has not expired; null: it is not.
  const TokenList::Token* FindGood(const std::string& digest) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // The same for what somebody sends, who may be guessing.
  absl::StatusOr<TokenList::Token> FindToken(absl::string_view token,
                                             const std::string& peer)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // By its cookie; of Role::kNone without one that is good.
  Caller CallerByCookie(const HttpRequest& request)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // The session of the request's cookie; null: none.
  const Session* FindSession(const HttpRequest& request)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  std::string Cookie(absl::string_view value, absl::Duration lifetime,
                     const HttpRequest& request) const;

  const Options options_;
  Clock& clock_;

  absl::Mutex mu_;
  TokenList tokens_ ABSL_GUARDED_BY(mu_);
  // Of the file that was last looked at, so that it is read once a change.
  std::string version_ ABSL_GUARDED_BY(mu_);
  absl::flat_hash_map<std::string, Session> sessions_ ABSL_GUARDED_BY(mu_);
  uint64_t sessions_begun_ ABSL_GUARDED_BY(mu_) = 0;
  absl::flat_hash_map<std::string, Failures> failures_ ABSL_GUARDED_BY(mu_);
  StopSignal stop_;
  std::thread watcher_;
};

}  // namespace camherd::gateway
