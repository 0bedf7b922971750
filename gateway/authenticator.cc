// SPDX-License-Identifier: Apache-2.0
#include "gateway/authenticator.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/random.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "services/common/file.h"
#include "services/common/log.h"
#include "services/common/retry_delay.h"
#include "services/common/status_macros.h"

namespace camherd::gateway {
namespace {

// Longer ones are none of ours.
constexpr size_t kMaxTokenBytes = 4096;
constexpr size_t kCookieBytes = 32;

// One host commonly has a whole /64.
std::string CountingKey(const std::string& peer) {
  in6_addr address = {};
  if (inet_pton(AF_INET6, peer.c_str(), &address) != 1) return peer;
  return std::string(reinterpret_cast<const char*>(&address), 8);
}

// What a file is known by: another one, or other content, has another.
std::string VersionOf(const std::string& path) {
  struct stat info = {};
  if (stat(path.c_str(), &info) != 0) return absl::StrCat("error ", errno);
  return absl::StrCat(info.st_dev, "/", info.st_ino, "/", info.st_size, "/",
                      info.st_mode, "/", info.st_mtim.tv_sec, "/",
                      info.st_mtim.tv_nsec, "/", info.st_ctim.tv_nsec);
}

absl::StatusOr<TokenList> ReadTokens(const Authenticator::Options& options) {
  std::vector<std::string> lines;
  if (!options.tokens_file.empty()) {
    CAMHERD_ASSIGN_OR_RETURN(lines, TokenList::ReadLines(options.tokens_file));
    // By itself first: its lines are counted from its beginning.
    if (const absl::Status parsed = TokenList::Parse(lines).status();
        !parsed.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat(options.tokens_file, " ", parsed.message()));
    }
  }
  lines.insert(lines.end(), options.tokens.begin(), options.tokens.end());
  return TokenList::Parse(lines);
}

absl::Status WrongToken() {
  return absl::UnauthenticatedError("the token is not valid, or has expired");
}

// The value of our cookie; "" without one.
std::string CookieOf(const HttpRequest& request) {
  for (const auto& [name, value] : request.headers) {
    if (name != "cookie") continue;
    for (absl::string_view pair : absl::StrSplit(value, ';')) {
      pair = absl::StripAsciiWhitespace(pair);
      if (absl::ConsumePrefix(&pair, Authenticator::kCookie) &&
          absl::ConsumePrefix(&pair, "=")) {
        return std::string(pair);
      }
    }
  }
  return "";
}

Caller CallerOf(const TokenList::Token& token, const std::string& address,
                absl::Time expires) {
  return {.name = token.name,
          .role = token.role,
          .cameras = token.cameras,
          .address = address,
          .expires = std::min(token.expires, expires)};
}

}  // namespace

absl::StatusOr<std::unique_ptr<Authenticator>> Authenticator::Create(
    const Options& options, Clock& clock) {
  std::unique_ptr<Authenticator> made(new Authenticator(options, clock));
  if (!options.required) return made;
  const std::string version =
      options.tokens_file.empty() ? "" : VersionOf(options.tokens_file);
  CAMHERD_ASSIGN_OR_RETURN(TokenList tokens, ReadTokens(options));
  if (tokens.size() == 0) {
    return absl::InvalidArgumentError(
        "there is no token in gateway.tokens_file or gateway.tokens");
  }
  {
    absl::MutexLock lock(&made->mu_);
    made->version_ = version;
    made->tokens_ = std::move(tokens);
  }
  if (!options.tokens_file.empty()) {
    made->watcher_ = std::thread([self = made.get()] { self->Watch(); });
  }
  return made;
}

Authenticator::~Authenticator() {
  stop_.Set();
  if (watcher_.joinable()) watcher_.join();
}

void Authenticator::Watch() {
  pollfd stop = {.fd = stop_.fd(), .events = POLLIN, .revents = 0};
  const int interval =
      options_.look_interval == absl::InfiniteDuration()
          ? -1
          : static_cast<int>(absl::ToInt64Milliseconds(options_.look_interval));
  // Not by a mutex, which waits by the wall clock.
  while (!stop_.IsSet()) {
    if (poll(&stop, 1, interval) == 0) Reload();
  }
}

void Authenticator::Reload() {
  if (options_.tokens_file.empty()) return;
  const std::string version = VersionOf(options_.tokens_file);
  {
    absl::MutexLock lock(&mu_);
    if (version == version_) return;
    version_ = version;
  }
  absl::StatusOr<TokenList> tokens = ReadTokens(options_);
  if (options_.reloaded) options_.reloaded(tokens.ok());
  if (!tokens.ok()) {
    LogWarning("the changed tokens are not usable; those before stay",
               {{"error", tokens.status()}});
    return;
  }
  LogInfo("tokens read anew", {{"tokens", tokens->size()}});
  absl::MutexLock lock(&mu_);
  tokens_ = *std::move(tokens);
}

const TokenList::Token* Authenticator::FindGood(
    const std::string& digest) const {
  const TokenList::Token* found = tokens_.Find(digest);
  return found != nullptr && clock_.Now() < found->expires ? found : nullptr;
}

absl::StatusOr<TokenList::Token> Authenticator::FindToken(
    absl::string_view token, const std::string& peer) {
  const absl::Duration now = clock_.SteadyNow();
  const std::string key = CountingKey(peer);
  const std::string digest = Sha256(token.substr(0, kMaxTokenBytes));
  Failures failures;
  if (const auto it = failures_.find(key); it != failures_.end()) {
    failures = it->second;
  }
  const int64_t forgiven = (now - failures.since) / kFailureInterval;
  failures.count -=
      static_cast<int>(std::min<int64_t>(forgiven, failures.count));
  failures.since += forgiven * kFailureInterval;
  const bool is_repeat = absl::c_linear_search(failures.refused, digest);
  if (failures.count >= kFreeFailures && !is_repeat) {
    return WithRetryDelay(
        absl::ResourceExhaustedError(
            "too many wrong tokens from this address; try again later"),
        failures.since + kFailureInterval - now);
  }
  if (token.size() <= kMaxTokenBytes) {
    // A repeat too: it may have been added to the file since.
    if (const TokenList::Token* found = FindGood(digest)) return *found;
  }
  if (is_repeat) return WrongToken();
  if (failures.count == 0) failures.since = now;
  ++failures.count;
  failures.refused.push_back(digest);
  if (failures.refused.size() > kFreeFailures) failures.refused.pop_front();
  if (failures_.size() >= kMaxAddresses && !failures_.contains(key)) {
    failures_.erase(std::min_element(failures_.begin(), failures_.end(),
                                     [](const auto& a, const auto& b) {
                                       return a.second.since < b.second.since;
                                     }));
  }
  failures_[key] = std::move(failures);
  LogWarning("a wrong token was refused", {{"peer", peer}});
  return WrongToken();
}

const Authenticator::Session* Authenticator::FindSession(
    const HttpRequest& request) {
  const std::string cookie = CookieOf(request);
  if (cookie.empty()) return nullptr;
  const auto it = sessions_.find(Sha256(cookie));
  if (it == sessions_.end()) return nullptr;
  const TokenList::Token* token = tokens_.Find(it->second.token_digest);
  const absl::Time now = clock_.Now();
  if (token == nullptr || now >= token->expires || now >= it->second.expires) {
    sessions_.erase(it);
    return nullptr;
  }
  return &it->second;
}

absl::StatusOr<Caller> Authenticator::Identify(const HttpRequest& request) {
  if (!options_.required) {
    return Caller{.role = Role::kAdmin, .address = request.peer};
  }
  absl::MutexLock lock(&mu_);
  if (request.HasHeader("authorization")) {
    const std::vector<absl::string_view> words =
        absl::StrSplit(request.Header("authorization"), ' ', absl::SkipEmpty());
    if (words.size() != 2 || !absl::EqualsIgnoreCase(words[0], "bearer")) {
      return absl::UnauthenticatedError(
          "the Authorization header must be `Bearer <token>`");
    }
    CAMHERD_ASSIGN_OR_RETURN(const TokenList::Token token,
                             FindToken(words[1], request.peer));
    return CallerOf(token, request.peer, token.expires);
  }
  return CallerByCookie(request);
}

Caller Authenticator::IdentifyAgain(const HttpRequest& request) {
  if (!options_.required) {
    return {.role = Role::kAdmin, .address = request.peer};
  }
  absl::MutexLock lock(&mu_);
  if (!request.HasHeader("authorization")) return CallerByCookie(request);
  const std::vector<absl::string_view> words =
      absl::StrSplit(request.Header("authorization"), ' ', absl::SkipEmpty());
  const TokenList::Token* token =
      words.size() == 2 ? FindGood(Sha256(words[1])) : nullptr;
  if (token == nullptr) return {.address = request.peer};
  return CallerOf(*token, request.peer, token->expires);
}

Caller Authenticator::CallerByCookie(const HttpRequest& request) {
  const Session* session = FindSession(request);
  if (session == nullptr) return {.address = request.peer};
  return CallerOf(*tokens_.Find(session->token_digest), request.peer,
                  session->expires);
}

absl::StatusOr<Authenticator::Login> Authenticator::LogIn(
    const HttpRequest& request, absl::string_view token) {
  if (!options_.required) {
    return absl::FailedPreconditionError(
        "this server asks nobody for a token (gateway.auth)");
  }
  absl::MutexLock lock(&mu_);
  CAMHERD_ASSIGN_OR_RETURN(const TokenList::Token found,
                           FindToken(token, request.peer));
  const absl::Time now = clock_.Now();
  size_t same = 0;
  auto oldest = sessions_.end();
  for (auto it = sessions_.begin(); it != sessions_.end();) {
    if (now >= it->second.expires) {
      sessions_.erase(it++);
      continue;
    }
    if (it->second.token_digest == found.digest) {
      ++same;
      if (oldest == sessions_.end() ||
          it->second.number < oldest->second.number) {
        oldest = it;
      }
    }
    ++it;
  }
  if (same >= kMaxLogins) sessions_.erase(oldest);

  std::string secret(kCookieBytes, '\0');
  size_t filled = 0;
  while (filled < secret.size()) {
    const ssize_t got = getrandom(&secret[filled], secret.size() - filled, 0);
    if (got < 0 && errno != EINTR) {
      return absl::InternalError("the system has no random numbers");
    }
    if (got > 0) filled += static_cast<size_t>(got);
  }
  const std::string value = absl::WebSafeBase64Escape(secret);
  const absl::Time expires = now + options_.login_lifetime;
  sessions_[Sha256(value)] = {.token_digest = found.digest,
                              .expires = expires,
                              .number = ++sessions_begun_};
  return Login{.caller = CallerOf(found, request.peer, expires),
               .cookie = Cookie(value, options_.login_lifetime, request)};
}

std::string Authenticator::LogOut(const HttpRequest& request) {
  absl::MutexLock lock(&mu_);
  const std::string cookie = CookieOf(request);
  if (!cookie.empty()) sessions_.erase(Sha256(cookie));
  return Cookie("", absl::ZeroDuration(), request);
}

std::string Authenticator::Cookie(absl::string_view value,
                                  absl::Duration lifetime,
                                  const HttpRequest& request) const {
  return absl::StrCat(
      kCookie, "=", value, "; Path=/; HttpOnly; SameSite=Strict; Max-Age=",
      absl::ToInt64Seconds(lifetime),
      options_.secure_cookies || request.is_tls ? "; Secure" : "");
}

}  // namespace camherd::gateway
