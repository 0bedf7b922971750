// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gateway/access.h"
#include "gateway/authenticator.h"
#include "gateway/connection_front.h"
#include "gateway/gateway_metrics.h"
#include "gateway/route.h"
#include "services/common/worker_pool.h"

namespace camherd::gateway {

// The web server: a ConnectionFront that lets only whole, plain requests
// through, and Debian's cpp-httplib behind it, which routes them and writes the
// answers, on memory instead of sockets. The library never sees a byte that the
// front has not parsed: it gets a request line and a length written by us, not
// the client's headers.
//
// Decided here before a request's body is read:
//  - Host must be one of `allowed_hosts`, localhost, a loopback address or a
//    listen host (with a wildcard listen host: any IP address), against DNS
//    rebinding. Reason "host".
//  - A method that changes something must come from our own page or from no
//    page at all, by Sec-Fetch-Site and Origin. Reason "cross_site".
//  - The route must exist (404), with that method (405 and Allow), and take a
//    body of that type (415).
//  - The caller must be one that the route is for: 401 without a token or a
//    login that is good (reason "unauthenticated"), 429 after too many wrong
//    tokens ("login_limit"), else 403 ("forbidden").
//
// Routes that are `as_made` go past the library: their answers are sent as they
// are made, in chunks (HTTP/1.0: up to the connection's end). One that fails
// midway ends in a reset, reason "stream_broken"; so does one whose caller's
// token or login ends meanwhile.
//
// Start, Drain and Stop from one thread.
class HttpServer {
 public:
  struct Options {
    std::vector<std::string> listen = {"localhost:5000", "localhost:8000"};
    std::vector<std::string> allowed_hosts;
    ConnectionFront::Options front;
    // Threads and waiting requests of each lane.
    size_t threads_per_lane = 8;
    size_t queue_per_lane = 256;
    // A request that has waited longer for a thread is not begun any more.
    absl::Duration queue_timeout = absl::Seconds(10);
    bool access_log = true;
  };

  // `authenticator` and `metrics` must outlive the server. Errors of Listen().
  static absl::StatusOr<std::unique_ptr<HttpServer>> Start(
      const Options& options, Routes routes, Authenticator& authenticator,
      GatewayMetrics& metrics);
  ~HttpServer();

  // host:port of each socket.
  const std::vector<std::string>& addresses() const { return addresses_; }

  // Takes no more requests; returns when those in work are answered, or after
  // `timeout`.
  void Drain(absl::Duration timeout);

  // Waits for the handlers to end. May be called twice.
  void Stop();

 private:
  class Guarded;
  HttpServer(const Options& options, Routes routes,
             Authenticator& authenticator, GatewayMetrics& metrics);

  ConnectionFront::Plan PlanFor(HttpRequest& request) const;
  bool Take(uint64_t id, HttpRequest&& request);
  // Answers with what `handler` makes, piece by piece; past the library, which
  // has an answer whole or not at all.
  HttpCode AnswerAsMade(uint64_t id, const HttpRequest& request,
                        const Route& route);
  bool HostAllowed(const HttpRequest& request) const;
  // Fills in the request's caller. What is answered where the caller may not
  // use the route, with the reason; none: it may.
  std::optional<HttpResponse> CheckAccess(const Access& access,
                                          HttpRequest& request,
                                          const char** reason) const;
  // Of an answer that goes on: whether the caller may have the rest of it.
  bool MayStillHave(const Access& access, const HttpRequest& asked) const;

  const Options options_;
  const Routes routes_;
  Authenticator& authenticator_;
  GatewayMetrics& metrics_;
  std::vector<std::string> addresses_;
  std::vector<std::string> hosts_;
  bool any_ip_host_ = false;
  std::unique_ptr<Guarded> library_;
  std::vector<std::unique_ptr<WorkerPool>> lanes_;
  std::unique_ptr<ConnectionFront> front_;
};

}  // namespace camherd::gateway
